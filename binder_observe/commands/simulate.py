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
    """Run SCENARIO on the model of the allocator: a name from --list, your own .toml file, or a .requests list.

    \b
    Example:
      binder-observe simulate steady -o steady.arrows --seed 7
      binder-observe simulate mine.requests --kernel 6.1
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
    from binder_observe.files import check_absent
    from binder_observe.sources import Generation, Source
    from binder_observe.sources.requests import RequestSource
    from binder_observe.sources.simulator import SimulatorSource

    check_absent(output, force)
    generation = cast(Generation, kernel)
    size = int(page_size) if page_size else None
    source: Source
    if scenario.endswith(".requests"):
        if duration is not None:
            raise click.UsageError("a request list runs to its end: leave --duration out")
        source = RequestSource(scenario, seed=seed, generation=generation, page_size=size or 4096)
    else:
        source = SimulatorSource(scenario, seed=seed, duration_s=duration, generation=generation, page_size=size)
    report = observe(source, output=output, force=force, quiet=quiet)
    write_report(report, as_json)
