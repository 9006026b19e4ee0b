"""The command that trains a session, from arguments to exit status.

What imports Keras is imported only after its backend has been chosen.
"""

from __future__ import annotations

import argparse
import logging

from sswavenet.backend.choice import choose_backend
from sswavenet.config.document import read_config

logger = logging.getLogger(__name__)


def train(args: argparse.Namespace) -> int:
    """Train a session."""
    config = read_config(args.config, args.target)
    choose_backend()
    from sswavenet.training import session

    try:
        session.train(
            config,
            load_checkpoint=args.load_checkpoint,
            kernel_convention=args.kernel_convention,
            print_model_summary=args.print_model_summary,
            precision=args.precision,
        )
    except session.Interrupted as error:
        logger.warning("stopped by %s", error)
        return error.exit_status
    return 0
