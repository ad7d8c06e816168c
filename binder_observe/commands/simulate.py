"""`binder-observe simulate`: a scenario's events into a file."""

from __future__ import annotations

import click


@click.command("simulate")
@click.argument("scenario", required=False)
@click.option("-l", "--list", "list_", is_flag=True, help="Name the scenarios that ship, and leave.")
@click.option("-o", "--output", metavar="FILE", help="Where the events go; without it, only the report.")
@click.option("-f", "--force", is_flag=True, help="Overwrite FILE.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same bytes.")
@click.option(
    "-d",
    "--duration",
    type=click.FloatRange(min=0, min_open=True),
    metavar="S",
    help="Simulated seconds, instead of the scenario's own.",
)
@click.option(
    "--kernel",
    type=click.Choice(["6.1", "6.8", "6.14"]),
    default="6.14",
    show_default=True,
    help="Whose allocator: up to 6.7, 6.8 to 6.13, or with the metadata under page->private.",
)
@click.option("--page-size", type=click.Choice(["4096", "16384", "65536"]), help="Instead of the scenario's own.")
@click.option("-j", "--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Nothing on stderr but errors.")
def simulate(
    scenario: str | None,
    list_: bool,
    output: str | None,
    force: bool,
    seed: int,
    duration: float | None,
    kernel: str,
    page_size: str | None,
    as_json: bool,
    quiet: bool,
) -> None:  # fmt: skip
    """Run SCENARIO (a name from --list, or your own .toml file) on the model of the allocator.

    \b
    Example:
      binder-observe simulate steady -o steady.arrows --seed 7
    """
    if list_:
        from binder_observe.simulator.scenarios import load_scenario, scenario_names

        for name in scenario_names():
            click.echo(f"{name:<20} {load_scenario(name).description}")
        return
    if scenario is None:
        raise click.UsageError("which SCENARIO? `binder-observe simulate --list` names those that ship")

    from typing import cast

    from binder_observe.commands.live import write_report
    from binder_observe.commands.observe import observe
    from binder_observe.sources import Generation
    from binder_observe.sources.simulator import SimulatorSource

    source = SimulatorSource(
        scenario, seed=seed, duration_s=duration, generation=cast(Generation, kernel),
        page_size=int(page_size) if page_size else None,
    )  # fmt: skip
    report = observe(source, output=output, force=force, quiet=quiet)
    write_report(report, as_json)
