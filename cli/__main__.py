"""`./dockyard`: the commands' names, options and help.

The work is in `cli.commands`, `cli.up` and the parts, which are started by module name. Modules are imported by the command
that needs them, so that `--help` and `status` answer at once and `up` stays small.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="dockyard", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Turns a link to a git repository or a DOI into a running Jupyter server.",
)
database = typer.Typer(no_args_is_help=True, help="The database's schema.")
app.add_typer(database, name="db")
rules = typer.Typer(no_args_is_help=True, help="What may be launched, and by whom: changed while everything runs. Needs the admin token.")
app.add_typer(rules, name="rules")

CHECKOUT = Path(__file__).resolve().parents[1]
PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
Config = Annotated[Path | None, typer.Option("--config", help="A TOML file of settings.", exists=True, dir_okay=False)]
Set = Annotated[list[str] | None, typer.Option("--set", help="A setting, as group.key=value; may be repeated.")]
Server = Annotated[str, typer.Option("--url", help="Address of a running Dockyard.", envvar="DOCKYARD_URL")]
Token = Annotated[str, typer.Option("--token", help="API token, where one is needed.", envvar="DOCKYARD_TOKEN")]


def _flags(pairs: list[str] | None) -> dict[str, str]:
    found = {}
    for pair in pairs or []:
        key, sign, value = pair.partition("=")
        if not sign or "." not in key:
            raise typer.BadParameter(f"--set {pair}: write group.key=value.")
        found[key] = value
    return found


def _become(*words: str) -> None:
    """Turn this process into another program of ours."""
    os.execv(sys.executable, [sys.executable, "-P", *words])  # noqa: S606


@app.command()
def up(
    port: Annotated[int | None, typer.Option(help="Port of the front door; user servers are on the next one.")] = None,
    home: Annotated[Path | None, typer.Option(help="Directory of all state.", file_okay=False)] = None,
    runtime: Annotated[str | None, typer.Option(help="local, docker or kubernetes.")] = None,
    config: Config = None,
    settings: Set = None,
) -> None:
    """Start everything in the foreground; Ctrl-C stops it."""
    from cli.up import up as run

    flags = _flags(settings)
    for key, value in (("front.port", port), ("home.path", home), ("runtime.name", runtime)):
        if value is not None:
            flags[key] = str(value.absolute() if isinstance(value, Path) else value)
    raise typer.Exit(run(flags, config))


@app.command()
def launch(
    link: str,
    open_it: Annotated[bool, typer.Option("--open", help="Open the address in the browser.")] = False,
    url: Server = "", token: Token = "",
) -> None:
    """Launch a link and print the address of its server."""
    from cli.commands.launches import launch as run

    raise typer.Exit(run(link, url, token, open_it=open_it))


@app.command()
def build(link: str, url: Server = "", token: Token = "") -> None:
    """Build the image of a link without starting a server."""
    from cli.commands.launches import launch as run

    raise typer.Exit(run(link, url, token, build_only=True))


@app.command()
def status(launch_id: Annotated[str, typer.Argument(metavar="[ID]")] = "", url: Server = "", token: Token = "") -> None:
    """Show one launch, or all that are open."""
    from cli.commands.launches import status as run

    raise typer.Exit(run(launch_id, url, token))


@app.command()
def logs(
    launch_id: Annotated[str, typer.Argument(metavar="ID")],
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the build has ended.")] = False,
    url: Server = "", token: Token = "",
) -> None:
    """Print the log of a launch's build."""
    from cli.commands.launches import logs as run

    raise typer.Exit(run(launch_id, url, token, follow=follow))


@app.command()
def stop(launch_id: Annotated[str, typer.Argument(metavar="ID")], url: Server = "", token: Token = "") -> None:
    """Cancel a launch or stop its server."""
    from cli.commands.launches import stop as run

    raise typer.Exit(run(launch_id, url, token))


@app.command()
def config(
    reference: Annotated[bool, typer.Option(help="Print the reference of all settings in Markdown.")] = False,
    file: Config = None,
    settings: Set = None,
) -> None:
    """Show every setting with its value and where that came from; secrets are masked."""
    from cli.commands.config import reference as the_reference
    from cli.commands.config import show

    if reference:
        print(the_reference(), end="")
        raise typer.Exit
    raise typer.Exit(show(file, _flags(settings)))


@app.command()
def doctor() -> None:
    """Say what this machine can run, and what to install for the rest."""
    from cli.commands.doctor import doctor as run

    raise typer.Exit(run())


@app.command()
def check() -> None:
    """Check the code: style, types, imports, layout."""
    from cli.commands.check import check as run

    raise typer.Exit(run())


@app.command(context_settings=PASS_ON)
def test(context: typer.Context) -> None:
    """Run the tests on servers of their own; further words go to pytest."""
    workers = str((os.cpu_count() or 1) + 1)  # tests wait for half of their time
    words = context.args if any(word.startswith("-n") for word in context.args) else ["-n", workers, "--dist", "loadgroup", *context.args]
    os.chdir(CHECKOUT)
    _become("-m", "pytest", *words)


@app.command(context_settings=PASS_ON)
def bench(context: typer.Context) -> None:
    """Measure: launches, watchers, idle, cold; further words go to the bench."""
    _become("-m", "bench", *context.args)


@app.command(hidden=True)
def lock() -> None:
    """Write the requirement files anew from pyproject.toml (for developers; newest versions)."""
    from cli.commands.lock import lock as run

    raise typer.Exit(run())


@app.command()
def sweep(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]…", help="Sweeps to run; all where none is named.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    home: Annotated[Path | None, typer.Option(help="Directory of all state of the `up` that is meant.", file_okay=False)] = None,
    file: Config = None, settings: Set = None,
) -> None:
    """Run the reaper's sweeps now: idle servers, orphans, images, old rows."""
    from cli.commands.sweep import sweep as run

    run(names or [], home, dry=dry_run, config=file, flags=_flags(settings))


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it; it must not exist.")],
    home: Annotated[Path | None, typer.Option(help="The home to save.", file_okay=False)] = None,
    config: Config = None,
) -> None:
    """Save database, secrets and settings of an embedded home into one file, while it runs or not."""
    from cli.commands.backup import backup as run

    raise typer.Exit(run(file, home, config))


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What backup has written.", exists=True, dir_okay=False)],
    home: Annotated[Path | None, typer.Option(help="The new home; it must hold no database.", file_okay=False)] = None,
) -> None:
    """Fill a new home out of a backup, on this machine or another."""
    from cli.commands.backup import restore as run

    raise typer.Exit(run(file, home))


@app.command()
def migrate(
    phase: Annotated[str, typer.Option(help="before: what new code needs and old code does not mind; after: the rest; all.")] = "all",
    wait: Annotated[float, typer.Option(help="Seconds to wait for the end of processes of older code, for the phase after.")] = 0.0,
    file: Config = None, settings: Set = None,
) -> None:
    """Bring the database to the newest schema, before or after the new code runs."""
    from cli.commands.database import migrate as run

    raise typer.Exit(run(phase, wait, file, _flags(settings)))


@rules.command("list")
def rules_list(url: Server = "", token: Token = "") -> None:
    """Show the rules that hold."""
    from cli.commands.rules import listed as run

    raise typer.Exit(run(url, token))


@rules.command("add")
def rules_add(
    kind: Annotated[str, typer.Argument(help="banned, allowed, quota or network.")],
    pattern: Annotated[str, typer.Argument(help="github.com/org/name, gh/org/*, a regular expression that begins with ^, or a network.")],
    message: Annotated[str, typer.Option(help="What whoever is refused is told.")] = "",
    quota: Annotated[int | None, typer.Option(help="For quota: launches and servers at a time; 0: no limit.")] = None,
    lasts: Annotated[str, typer.Option("--for", help="How long it holds, such as 30m, 12h, 7d; else until it is removed.")] = "",
    url: Server = "", token: Token = "",
) -> None:
    """Forbid, allow or bound something, in every process within a second; prints the rule's id."""
    from cli.commands.rules import add as run

    raise typer.Exit(run(kind, pattern, message, quota, lasts, url, token))


@rules.command("remove")
def rules_remove(rule: Annotated[str, typer.Argument(metavar="ID")], url: Server = "", token: Token = "") -> None:
    """Remove a rule."""
    from cli.commands.rules import remove as run

    raise typer.Exit(run(rule, url, token))


@app.command()
def pause(
    message: Annotated[str, typer.Argument(help="The notice that pages and clients show.")] = "",
    lasts: Annotated[str, typer.Option("--for", help="How long, if it is known, such as 30m; refusals then say when to come again.")] = "",
    url: Server = "", token: Token = "",
) -> None:
    """Accept no new launches; what waits and what runs goes on."""
    from cli.commands.rules import pause as run

    raise typer.Exit(run(message, lasts, url, token))


@app.command()
def resume(url: Server = "", token: Token = "") -> None:
    """Accept launches again."""
    from cli.commands.rules import resume as run

    raise typer.Exit(run(url, token))


@database.command()
def upgrade(file: Config = None, settings: Set = None) -> None:
    """Bring the database to the newest schema."""
    from cli.commands.database import upgrade as run

    raise typer.Exit(run(file, _flags(settings)))


def _part(name: str, about: str) -> None:
    def part(context: typer.Context) -> None:
        from cli.commands.part import become

        become(name, context.args)

    part.__doc__ = about
    app.command(name, context_settings=PASS_ON, rich_help_panel="One process each")(part)


_part("api", "The front door.")
_part("worker", "Resolves links and builds.")
_part("launcher", "Starts servers through the hub.")
_part("reaper", "Stops, removes and expires.")
_part("hub", "JupyterHub with our configuration.")
_part("proxy", "The user servers' proxy; words go to configurable-http-proxy.")


if __name__ == "__main__":
    app(prog_name="dockyard")
