"""What a separation is asked for."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

from sswavenet.separation.excerpt import Excerpt
from sswavenet.sound.formats import Encoding


@dataclasses.dataclass(frozen=True)
class Options:
    """What one run is asked for."""

    # Folder for the stems; defaults to a new one in the session
    output_path: pathlib.Path | None = None
    stems: Sequence[str] | None = None  # names of those to write; defaults to all
    complements: bool = False  # write the mixture without each of them, too
    # "native": stems with the mixture's rate and channels, by masks where these are not
    # the model's; "masks": by masks in any case; "model": the network's own, as in the
    # original framing. Defaults to "native"
    stem_format: str = "native"
    # How the stems are stored; defaults to WAV files, `PCM_16`
    encoding: Encoding = Encoding()  # noqa: RUF009 (it is frozen)
    # Which part of each mixture to separate; defaults to all
    excerpt: Excerpt = Excerpt()  # noqa: RUF009
    strict: bool = False  # let a damaged mixture fail
    overwrite: bool = False  # replace stems that are there
    skip_existing: bool = False  # leave out mixtures whose stems are all there
    original_framing: bool = False  # frame like the 2018 program
    one_shot: bool = False  # one forward pass for each mixture
    # Samples; defaults to a fitting number, or to the config's in the original framing
    target_field_length: int | None = None
    # Fragments; defaults to a fitting number, or to the config's in the original
    # framing
    batch_size: int | None = None

    @property
    def whole_passes(self) -> bool:
        """Whether each fragment must go through the network in one pass."""
        return self.original_framing or self.one_shot
