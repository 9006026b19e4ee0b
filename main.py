"""The command line: separate mixtures with a session, train or evaluate one.

`python main.py --help` lists the arguments; docs/usage.md explains them.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from typing import Any

# Nothing here may import NumPy, Keras or audio libraries: `--help` must be quick.
from sswavenet.config.tasks import MULTI_INSTRUMENT, TASKS
from sswavenet.console import flags, parser, run


def build_parser() -> parser.Parser:
    """The parser of the command line, with the 2018 program's flags and ours."""
    arguments = parser.Parser(
        description="Separate music into stems, train a session, or evaluate one.",
        epilog="With `app` as its first word it starts a page in the browser instead; "
        "`app --help` lists that one's arguments.",
        allow_abbrev=False,
    )

    def add(group: Any, name: str, text: str, default: Any = None, **more: Any) -> None:
        text += "" if default is None else f" (default: {default})"
        group.add_argument(name, help=text, default=default, **more)

    common = functools.partial(add, arguments)
    separating = arguments.add_argument_group("separation")
    evaluating = arguments.add_argument_group("evaluation")
    separation = functools.partial(add, separating)
    evaluation = functools.partial(add, evaluating)
    flag = {
        **{"default": False, "nargs": "?", "const": True},
        **{"type": parser.boolean, "metavar": "True|False"},
    }
    number: dict[str, Any] = {"type": parser.count, "metavar": "N"}
    file = {"type": parser.text_path, "metavar": "FILE"}
    time = {"metavar": "TIME"}

    common(
        "--mode",
        "what to do; not needed with MIXTURE",
        "training",
        choices=["training", "inference", "evaluation"],
    )
    common(
        "--target",
        "task of the model, where the config has no model.type "
        f"(default: {MULTI_INSTRUMENT})",
        choices=list(TASKS),
    )
    common("--config", "JSON configuration", "config.json", **file)
    common(
        "--session",
        "in place of --config a session's name, its folder or its "
        "config.json (default: multi-instrument with MIXTURE, if there is no --config)",
        **{**file, "metavar": "SESSION"},
    )
    common("--print_model_summary", "print the network, layer by layer", **flag)
    common(
        "--load_checkpoint", "weights to use (default: the session's newest)", **file
    )
    parser.add_kernel_convention(arguments)
    common(
        "--precision",
        "what the network computes in: exact float32 on a CPU, TF32 on a GPU; "
        "bfloat16, faster and less exact; highest, exact float32 on a GPU too",
        "float32",
        choices=["float32", "bfloat16", "highest"],
    )

    separating.add_argument(
        "mixtures",
        nargs="*",
        default=[],
        type=parser.text_path,
        metavar="MIXTURE",
        help="audio files, videos and folders of them to separate, or URLs of such as "
        "s3://bucket/songs, or - for a stream",
    )
    separation("--one_shot", "separate each file in one forward pass", **flag)
    separation(
        "--target_field_length",
        "samples separated at a time (default: chosen to fit the memory; with "
        "--original_framing as defined in the config)",
        **number,
    )
    separation(
        "--batch_size",
        "fragments per batch (default: as for --target_field_length)",
        **number,
    )
    separation(
        "--mixture_input_path",
        "one MIXTURE; or - for raw float32 mono samples from stdin (stems interleaved "
        "to stdout)",
        **{**file, "metavar": "PATH"},
    )
    separation("--recursive", "look into the folder's folders, too", **flag)
    separation(
        "--output_path",
        "where the stems go (default: separated/<name of the session>; with --config a "
        "new <session>/samples/samples_N) or the results of an evaluation (default: "
        "evaluation/<name of the session>; with --config <session>/evaluation; "
        "evaluation-native, evaluation-masks with such a --stem_format)",
        type=parser.place,
        metavar="FOLDER",
    )
    separation(
        "--output_name",
        "names of the stems below that, without extension, folders included, as "
        "{mixture}/{stem}",
        "{mixture}_{stem}",
        **{**file, "metavar": "NAME"},
    )
    formats = ["wav", "flac", "mp3", "ogg", "opus", "m4a"]
    separation("--format", "format of the stems", "wav", choices=formats)
    separation(
        "--subtype",
        "sample type of the stems in wav, and but for FLOAT in flac (default: PCM_16)",
        choices=["PCM_16", "PCM_24", "FLOAT"],
    )
    separation(
        "--bitrate",
        "bits a second of stems in mp3, opus and m4a, as 192k (default: plenty)",
        type=parser.bitrate,
        metavar="BITS",
    )
    text = "where to begin in each file, in seconds or h:m:s"
    separation("--start", text, 0.0, type=parser.seconds, **time)
    text = "how much to separate, likewise (default: to the end)"
    separation("--duration", text, type=parser.duration, **time)
    separation("--strict", "let a file fail that is damaged or cut short", **flag)
    text = "stems to write, separated by commas (default: all)"
    separation("--stems", text, type=parser.names, metavar="NAME,...")
    text = "write for each stem the mixture without it, too, as no_<stem>"
    separation("--complement", text, **flag)
    separation(
        "--stem_format",
        "native: stems with the mixture's rate and channels; masks: the same, by masks "
        "even of a mixture that is mono at the session's rate; model: mono at that "
        "rate (default: native; model with --original_framing and in an evaluation)",
        choices=["native", "masks", "model"],
    )
    separation("--overwrite", "replace stems that are there", **flag)
    text = "leave out mixtures whose stems are all there"
    separation("--skip_existing", text, **flag)
    separation("--report", "write what became of each file as JSON", **file)
    text = "write a page to listen to the stems and look at them in a browser"
    separation("--html", text, **file)
    text = "cut fragments like the 2018 program: stems are shorter than the mixture"
    separation("--original_framing", text, **flag)

    separation(
        "--cluster",
        "spread the files over the actors of a Ray cluster: ray://HOST:PORT or "
        "HOST:PORT, auto for the one that this machine belongs to, local for one that "
        "is started here",
        metavar="ADDRESS",
    )
    separation(
        "--cluster_resources",
        "what each actor takes, as num_cpus=2,num_gpus=1, and how many of them there "
        "are, as actors=64 (default: num_cpus=1 and as many as fit now)",
        type=parser.resources,
        metavar="NAME=N,...",
    )

    evaluation(
        "--dataset_path",
        "MUSDB18 tree to evaluate on (default: the config's)",
        **{**file, "metavar": "FOLDER"},
    )
    subsets = ["train", "validation", "test"]
    evaluation("--subset", "tracks to evaluate on", "test", choices=subsets)
    evaluating.add_argument(
        "--metrics",
        type=parser.names,
        default=("si_sdr", "bss"),
        metavar="NAME,...",
        help="si_sdr (quick), bss (BSS Eval v4, slow) or both (default: si_sdr,bss)",
    )
    evaluation("--oracle", "score the ideal ratio mask, too, as a ceiling", **flag)
    evaluating.add_argument(
        "-j",
        "--jobs",
        help="processes that compute BSS Eval, each with one track in memory "
        "(default: one for each core)",
        **number,
    )
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments. Defaults to the process's.

    Returns:
        The exit status: 0 if everything asked for was done, 1 if a file failed, 2
        if the arguments, the config or the checkpoint cannot be used, 130 after an
        interrupt, 143 after SIGTERM, 129 after SIGHUP.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] == ["app"]:  # a folder of that name is ./app
        from sswavenet.app.command import main as serve

        return serve(words[1:])
    import sswavenet  # what its public names stand for is imported when they are used

    arguments = build_parser()
    arguments.add_argument(
        "--version", action="version", version=f"sswavenet {sswavenet.__version__}"
    )
    args = flags.parse(arguments, words)

    def work() -> int:
        flags.use_session(args)
        if args.mode == "inference":
            if flags.is_at_scale(args):
                from sswavenet.cluster.command import infer
            else:
                from sswavenet.separation.command import infer
            return infer(args)
        if args.mode == "evaluation":
            if flags.is_at_scale(args):
                from sswavenet.cluster.command import evaluate_session
            else:
                from sswavenet.evaluation.command import evaluate_session
            return evaluate_session(args)
        from sswavenet.training.command import train

        return train(args)

    return run.run(work)


if __name__ == "__main__":
    sys.exit(main())
