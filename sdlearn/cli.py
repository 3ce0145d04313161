"""The `sdlearn` command: reads its arguments, then imports and calls what they ask for."""

import argparse
import signal
import sys

from . import __version__
from .places import CommandError

_ABOUT = "The course Stable Diffusion from scratch: set it up, run it, grade it."
_MORE = "First steps: `sdlearn doctor`, then `sdlearn lab`. `sdlearn COMMAND --help` says more."


def _number(text, of=""):
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number {of}above 0")
    return int(text)


def _seconds(text):
    return _number(text, "of seconds ")


def _size(text):
    width, x, height = text.lower().partition("x")
    return _number(width), _number(height if x else width)


_TIMEOUT = {
    "type": _seconds,
    "default": 600,
    "metavar": "S",
    "help": "seconds a cell (default: 600)",
}


def main(arguments=None):
    """Run the command with `arguments` (those of the process unless given); returns the status.

    0: done. 1: something failed or is missing. 2: wrong arguments. 130: interrupted.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):  # a Windows console may lack a character of a title
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    parser = _parser()
    arguments, extra = _split(arguments)
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    if extra and options.command != "lab":
        parser.error(f"arguments after -- are for `sdlearn lab` only: {' '.join(extra)}")
    options.extra = extra
    try:
        return options.call(options) or 0
    except (CommandError, FileNotFoundError) as error:
        print(f"sdlearn {options.command}: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        from .packages import pip

        print(f"sdlearn {options.command}: {error}. Repair it with:", file=sys.stderr)
        print(f"    {pip('-e .[lab]')}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nsdlearn {options.command}: interrupted", file=sys.stderr)
        return 130


def _parser():
    parser = argparse.ArgumentParser(prog="sdlearn", description=_ABOUT, epilog=_MORE)
    parser.add_argument("--version", action="version", version=f"sdlearn {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    doctor = _add(commands, "doctor", _doctor, "examine this machine; say what is missing")
    doctor.add_argument("--json", action="store_true", help="the report as JSON")

    lab = _add(commands, "lab", _lab, "open JupyterLab on a chapter")
    lab.epilog = "What follows -- goes to JupyterLab: sdlearn lab 02 -- --port 9000"
    text = "number, name or path of a notebook (default: 00)"
    lab.add_argument("notebook", nargs="?", default="00", metavar="CHAPTER", help=text)
    lab.add_argument("--no-browser", action="store_true", help="only print the address")

    run = _add(commands, "run", _run, "execute chapters headless and write them as HTML")
    text = "numbers, names or paths of notebooks (default: every chapter)"
    run.add_argument("chapters", nargs="*", metavar="CHAPTER", help=text)
    run.add_argument("--out", metavar="FOLDER", help="folder for the pages (default: build)")
    run.add_argument("--timeout", **_TIMEOUT)
    run.add_argument("--profile", action="store_true", help="list each chapter's slowest cells")
    text = "chapters at a time (default: 2 on a CPU with two cores or more, else 1)"
    run.add_argument("--jobs", type=_number, metavar="N", help=text)

    grade = _add(commands, "grade", _grade, "execute students' notebooks; mark their exercises")
    grade.epilog = "It runs the students' code with your rights: do so where that is safe."
    text = ".ipynb files, or folders to search for them"
    grade.add_argument("notebooks", nargs="+", metavar="NOTEBOOK", help=text)
    grade.add_argument("--csv", metavar="FILE", help="write a table, a row for each notebook")
    grade.add_argument("--timeout", **_TIMEOUT)

    train = _add(commands, "train", _train, "train a U-Net as a JSON file says; resumes by itself")
    train.epilog = "An example is data/training/faces.json; its README says what can stand there."
    train.add_argument("config", metavar="CONFIG", help="the JSON file")
    train.add_argument("--out", metavar="FOLDER", help="default: build/train/NAME of CONFIG")
    train.add_argument("--half", action="store_true", help="write the weights in float16")
    train.add_argument("--restart", action="store_true", help="begin anew, not from a checkpoint")

    draw = _add(commands, "generate", _generate, "draw what a prompt says; writes a PNG")
    draw.epilog = 'For example: sdlearn generate "purple circle, 3d style" -n 4'
    draw.add_argument("prompt", nargs="?", metavar="PROMPT", help="what to draw, in quotes")
    text = "how many pictures, as one grid (default: 1)"
    draw.add_argument("-n", "--count", type=_number, metavar="N", help=text)
    draw.add_argument("--steps", type=_number, help="of the sampler (default: 25)")
    text = "how closely to follow the prompt, 1: not at all closer (default: 4; other models: 7.5)"
    draw.add_argument("--guidance", type=float, help=text)
    text = "0 to 1: how far to bring guidance's glare back (default: 0)"
    draw.add_argument("--guidance-rescale", type=float, metavar="SHARE", help=text)
    text = "the same seed gives the same picture (default: a new one, see the file's name)"
    draw.add_argument("--seed", type=int, help=text)
    draw.add_argument("--negative", metavar="PROMPT", help="what to stay away from")
    draw.add_argument("--size", type=_size, help="pixels, as 64 or 128x64 (default: the model's)")
    draw.add_argument(
        "--sampler", help="ddpm, ddim, euler, euler_a, heun, dpmpp_2m (the default) …"
    )
    text = "folder, .safetensors or .ckpt file, or the Hub's OWNER/NAME (default: emoji, our own)"
    draw.add_argument("--model", help=text)
    draw.add_argument("--image", metavar="FILE", help="a picture to begin with")
    text = "share of the steps to take from there, up to 1 (default: 0.8)"
    draw.add_argument("--strength", type=float, help=text)
    draw.add_argument("--mask", metavar="FILE", help="white where the image is to be drawn anew")
    text = "read the prompt as the AUTOMATIC1111 web UI does: (a:1.3), [a:b:8], AND, BREAK"
    draw.add_argument("--webui", action="store_true", default=None, help=text)
    text = "make this picture again, but for what else is given"
    draw.add_argument("--like", metavar="FILE", help=text)
    text = "folder, or .png, .jpg or .webp file (default: here)"
    draw.add_argument("--out", metavar="PATH", help=text)
    return parser


def _add(commands, name, call, about):
    command = commands.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".")
    command.set_defaults(call=call)
    return command


def _split(arguments):
    """The arguments before the first "--", and those after it."""
    if "--" not in arguments:
        return arguments, []
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]


def _doctor(options):
    from .doctor import main

    return main(options.json)


def _lab(options):
    from .lab import lab

    return lab(options.notebook, not options.no_browser, options.extra)


def _run(options):
    _interrupt_on_signals()
    from .run import run

    return run(options.chapters, options.out, options.timeout, options.profile, jobs=options.jobs)


def _grade(options):
    _interrupt_on_signals()
    from .grade import grade

    return grade(options.notebooks, options.csv, options.timeout)


def _train(options):
    _interrupt_on_signals()
    from .recipe import train_recipe

    return train_recipe(options.config, options.out, options.restart, options.half)


def _generate(options):
    from .generate import generate

    names = ("prompt", "model", "count", "out", "image", "mask", "steps", "guidance", "seed")
    names += ("guidance_rescale", "size", "sampler", "strength", "like", "webui")
    given = {name: getattr(options, name) for name in names}
    path = generate(negative_prompt=options.negative, **given)
    print(path)


def _interrupt_on_signals():
    """Let SIGINT, SIGTERM and a closed terminal end the command in the orderly way of Ctrl-C.

    SIGINT as well: a shell starts its background jobs with SIGINT ignored.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        # nohup's wish to outlive the terminal is respected.
        if number and not (name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN):
            signal.signal(number, signal.default_int_handler)
