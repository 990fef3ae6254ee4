"""Contenders beside each other: all of them run, and take short turns at the same load.

How fast a shared machine is changes from minute to minute, by more than most of what is compared. What stands within a
minute of each other compares; so the targets that name a peer go by these turns.
"""

from contenders import Codexapi, Direct, LiteLlm, Portkey
from measure import Cell, measure

TURNS = 6
CELLS = [Cell(stream=False, prompt_kb=1, connections=1, seconds=5), Cell(stream=False, prompt_kb=1, connections=64, seconds=10)]
KINDS = [Direct, Codexapi, Portkey, LiteLlm]


def take_turns(world, turns, told):
    """The rows by turn, contender and cell; ours a second time with one wallet where many connections share it."""
    running = {}
    try:
        for kind in KINDS:
            running[kind.name] = kind(world)
        return [turn(world, rotated(running, number), told) for number in range(turns)]
    finally:
        for contender in running.values():
            contender.stop()


def rotated(running, number):
    names = list(running)
    first = number % len(names)
    return {name: running[name] for name in names[first:] + names[:first]}


def turn(world, running, told):
    rows = {name: {} for name in running}
    for cell in CELLS:
        for name, contender in running.items():
            for one in variants(contender, cell):
                rows[name][one.name] = row = measure(world, contender, one)
                told(f"{name}: {one.name}", row)
                rest(contender)
    return rows


def variants(contender, cell):
    if isinstance(contender, Codexapi) and cell.connections > 1:
        return [cell, Cell(cell.stream, cell.prompt_kb, cell.connections, cell.seconds, wallets=1)]
    return [cell]


def rest(contender):
    """Nothing of this turn is left to be done in that of the next one."""
    if isinstance(contender, Codexapi):
        contender.catch_up_seconds()
        contender.sql("CHECKPOINT")
