"""Curves as small inline SVG: drawn here from numbers of ours, so that no library and no other host is needed.

A curve has a scale of its own from 0 to its largest value, which stands beside it in words; gaps are where nothing was counted. """

from collections.abc import Sequence

from markupsafe import Markup

Values = Sequence[float | None]
WIDTH, HEIGHT = 240.0, 40.0


def largest(values: Values) -> float:
    """The largest value, 0 where there is none."""
    return max((value for value in values if value is not None), default=0.0)


def line(values: Values, label: str, top: float | None = None) -> Markup:
    """A line with the ground under it. `label` is what a screen reader says."""
    most = max(top or largest(values), 1e-9)
    step = WIDTH / max(1, len(values) - 1)
    paths, grounds, points = list[str](), list[str](), list[tuple[float, float]]()

    def close() -> None:
        if points:
            path = " ".join(f"{'M' if n == 0 else 'L'}{x:.1f} {y:.1f}" for n, (x, y) in enumerate(points))
            paths.append(path if len(points) > 1 else f"{path} h.1")
            grounds.append(f"{path} L{points[-1][0]:.1f} {HEIGHT:.0f} L{points[0][0]:.1f} {HEIGHT:.0f} Z")
            points.clear()

    for n, value in enumerate(values):
        if value is None:
            close()
        else:
            points.append((n * step, HEIGHT - 1.5 - (HEIGHT - 4) * min(1.0, value / most)))
    close()
    return _picture(label, Markup('<path class="ground" d="{}"/><path class="line" d="{}"/>').format(" ".join(grounds), " ".join(paths)))


def bars(good: Values, bad: Values, label: str) -> Markup:
    """A bar for each step: what went well, and on top of it what did not."""
    most = max(largest([(a or 0) + (b or 0) for a, b in zip(good, bad, strict=True)]), 1e-9)
    width = WIDTH / max(1, len(good))
    pieces = Markup("")
    for n, (up, down) in enumerate(zip(good, bad, strict=True)):
        height_up, height_down = ((HEIGHT - 2) * (value or 0) / most for value in (up, down))
        if up:
            pieces += Markup('<rect class="good" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
                n * width, HEIGHT - height_up, width * 0.8, height_up)
        if down:
            pieces += Markup('<rect class="bad" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
                n * width, HEIGHT - height_up - height_down, width * 0.8, height_down)
    return _picture(label, pieces)


def _picture(label: str, inside: Markup) -> Markup:
    return Markup('<svg class="curve" role="img" aria-label="{}" viewBox="0 0 {:.0f} {:.0f}" preserveAspectRatio="none">{}</svg>').format(
        label, WIDTH, HEIGHT, inside)
