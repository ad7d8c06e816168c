"""`binder-observe doctor`: what this machine lacks for live observation, and the command that mends it."""

from __future__ import annotations

import json

import click

from binder_observe.doctor import Report, diagnose


@click.command("doctor")
@click.option("-j", "--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check what live observation needs, and say what mends it.

    Exit status 0: live observation is possible; 3: it is not.
    """
    report = diagnose()
    click.echo(json.dumps(report.to_dict(), indent=2) if as_json else render(report))
    ctx.exit(0 if report.ok else 3)


def render(report: Report) -> str:
    """One line a check, the mending command beneath it."""
    width = max(len(check.status) for check in report.checks)
    lines = []
    for check in report.checks:
        lines.append(f"{check.status:<{width}}  {check.title}: {check.detail}")
        if check.mend:
            lines.append(f"{'':<{width}}    {check.mend}")
    if report.ok:
        lines.append("\nLive observation is possible here.")
    else:
        names = ", ".join(check.title for check in report.missing)
        lines.append(f"\nLive observation is not possible here; missing: {names}.")
    return "\n".join(lines)
