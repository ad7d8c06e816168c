"""The command line: `main` is the only place that turns errors into sentences and exit statuses.

Exit status: 0 done; 1 failed while running; 2 wrong usage; 3 this machine cannot do it; 4 `compare` found a
threshold crossed.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from typing import Any, Final

import click

from binder_observe import __version__
from binder_observe.commands.options import check_option, live_options, rotation_options
from binder_observe.errors import ObserveError

# command -> (module, one-line help): modules are imported when their command runs, and `--help` stays quick
COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "record": ("record", "Record events to a file."),
    "report": ("report", "Report from a recording."),
    "top": ("top", "Watch processes on a screen that refreshes."),
    "compare": ("compare", "Compare two recordings."),
    "export": ("export", "A frame of a recording as CSV or Parquet; live metrics for Prometheus."),
    "simulate": ("simulate", "Run a scenario on the model of the allocator."),
    "doctor": ("doctor", "Check what live observation needs, and say what mends it."),
}
EXAMPLES: Final = """\b
Examples:
  sudo binder-observe                      every process, until Ctrl-C
  sudo binder-observe -p 1234 -d 20        pages of process 1234, for 20 s
  sudo binder-observe -p 1234 -j           the report as JSON on stdout
  sudo binder-observe -o trace.arrows      keep the events, too
  binder-observe report trace.arrows       the report of a recording
  binder-observe report trace.arrows --html report.html
                                           the same with pictures, for a browser
  binder-observe compare a.arrows b.arrows what differs in b, with confidence
  binder-observe --simulate                no binder here? the simulator has one
  binder-observe doctor                    what is missing on this machine
"""


class Commands(click.Group):
    """Subcommands that are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"binder_observe.commands.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, COMMANDS[cmd_name][0])
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(
    cls=Commands,
    invoke_without_command=True,
    subcommand_metavar="[COMMAND [ARGS]...]",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EXAMPLES,
)
@live_options
@check_option
@click.option(
    "--simulate",
    "scenario",
    is_flag=False,
    flag_value="steady",
    metavar="[SCENARIO]",
    help="Observe the simulator instead of this machine.  [default scenario: steady]",
)
@click.option("--seed", type=int, default=0, show_default=True, help="With --simulate: the seed of the scenario.")
@click.option("--realtime", is_flag=True, help="With --simulate: let the simulated clock keep pace with ours.")
@click.option("-o", "--output", metavar="FILE", help="Keep the events in FILE, too.")
@click.option("-f", "--force", is_flag=True, help="Overwrite FILE.")
@rotation_options
@click.version_option(__version__, "-V", "--version", prog_name="binder-observe")
@click.pass_context
def cli(ctx: click.Context, /, **options: Any) -> None:
    """Follow every page of the binder allocator: which process holds how many, how long each lives and idles on
    the LRU, who caused it, and whether the shrinker gets it back.

    Without a command: observes live until Ctrl-C (or --duration), then prints the page-lifetime report. On a
    machine without binder, and without --pid, --name or --context, it observes the simulator and says so.
    """
    if ctx.invoked_subcommand is None:
        from binder_observe.commands.live import live

        live(**options)
        return
    given = [
        p.opts[-1]
        for p in cli.params
        if isinstance(p, click.Option)
        and ctx.get_parameter_source(p.name or "") is click.core.ParameterSource.COMMANDLINE
    ]
    if given:
        raise click.UsageError(f"{', '.join(given)} goes after the command: binder-observe COMMAND [OPTIONS]")


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Runs one command line; returns its exit status."""
    try:
        status = cli.main(arguments, prog_name="binder-observe", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.exceptions.Abort:
        return 130
    except ObserveError as error:
        click.echo(f"binder-observe: {error}", err=True)
        return error.exit_status
    except BrokenPipeError:
        # whoever read our output has left; the interpreter's own flush at exit must not complain again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # stdout on a full disk, and the like
        click.echo(f"binder-observe: {error.strerror or error}", err=True)
        return 1
