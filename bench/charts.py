"""Bars as SVG, for those who would rather look."""

from html import escape

from report import added, contenders, throughput

WIDTH, BAR, LEFT = 720, 26, 220
COLOURS = {"codexapi": "#2563eb", "codexapi, commits relaxed": "#93c5fd"}


def write(result, folder):
    draw(folder / "throughput.svg", "Requests per second, 64 connections, 1 KB (more is better)",
         bars(result, "whole, 1 KB, 64 connections", lambda name, cell: throughput(result, name, cell)))
    draw(folder / "latency.svg", "Added latency in ms, p50, 1 connection, 1 KB (less is better)",
         bars(result, "whole, 1 KB, 1 connection", lambda name, cell: added(result, name, cell, "p50")))


def bars(result, cell, read):
    found = [(name, read(name, cell)) for name in contenders(result, cell) if name != "direct"]
    return [(name, amount) for name, amount in found if amount is not None]


def draw(file, title, rows):
    most = max((amount for _, amount in rows), default=1) or 1
    height = 50 + BAR * len(rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/><text x="10" y="24" font-size="15">{escape(title)}</text>',
    ]
    for place, (name, amount) in enumerate(rows):
        top = 40 + BAR * place
        width = max(1, (WIDTH - LEFT - 90) * max(amount, 0) / most)
        parts.append(
            f'<text x="{LEFT - 8}" y="{top + 16}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{LEFT}" y="{top + 3}" width="{width:.0f}" height="{BAR - 8}" fill="{COLOURS.get(name, "#9ca3af")}"/>'
            f'<text x="{LEFT + width + 6:.0f}" y="{top + 16}">{amount:,.2f}</text>'
        )
    file.write_text("\n".join([*parts, "</svg>"]) + "\n")
