"""What a separation is asked for."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

from sswavenet.separation.excerpt import Excerpt
from sswavenet.sound.formats import Encoding


@dataclasses.dataclass(frozen=True)
class Options:
    """What one run is asked for.

    Args:
        output_path: folder for the stems. Defaults to a new one in the session.
        stems: names of those to write. Defaults to all.
        complements: write the mixture without each of them, too. Defaults to False.
        native: write stems with the mixture's rate and channels, and not the model's,
            if the framing is not the original's. Defaults to True.
        encoding: how the stems are stored. Defaults to WAV files, `PCM_16`.
        excerpt: which part of each mixture to separate. Defaults to all.
        strict: let a damaged mixture fail. Defaults to False.
        overwrite: replace stems that are there. Defaults to False.
        skip_existing: leave out mixtures whose stems are all there. Defaults to False.
        original_framing: frame like the 2018 program. Defaults to False.
        one_shot: one forward pass for each mixture. Defaults to False.
        target_field_length: samples. Defaults to a fitting number, or to the
            config's in the original framing.
        batch_size: fragments. Defaults to a fitting number, or to the config's in
            the original framing.
    """

    output_path: pathlib.Path | None = None
    stems: Sequence[str] | None = None
    complements: bool = False
    native: bool = True
    encoding: Encoding = Encoding()  # noqa: RUF009 (it is frozen)
    excerpt: Excerpt = Excerpt()  # noqa: RUF009
    strict: bool = False
    overwrite: bool = False
    skip_existing: bool = False
    original_framing: bool = False
    one_shot: bool = False
    target_field_length: int | None = None
    batch_size: int | None = None

    @property
    def whole_passes(self) -> bool:
        """Whether each fragment must go through the network in one pass."""
        return self.original_framing or self.one_shot
