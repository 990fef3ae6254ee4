"""The report as text: every figure is the median of the rounds, and a row with a wrong answer is void."""

import json
from statistics import median

COLUMNS = "| contender | requests/s | added p50 ms | added p90 ms | added p99 ms | CPU µs/request | resident MB |"


def write(folder):
    """Writes REPORT.md of the report.json in `folder`, and of its soak.json where there is one."""
    result = json.loads((folder / "report.json").read_text())
    soaked = folder / "soak.json"
    if soaked.exists():
        result["soak"] = json.loads(soaked.read_text())
    (folder / "REPORT.md").write_text(markdown(result))


def markdown(result):
    machine = result["machine"]
    parts = [
        "# Benchmark", "",
        f"`{result['command']}` wrote this of the build `{result['build']}`, on {machine['cores']} cores of "
        f"{machine['cpu']}, {machine['memoryGb']} GB, Linux {machine['kernel']}, at commit {machine['commit']}. Load before "
        f"{machine['loadBefore']}, after {machine['loadAfter']}. Portkey {machine['portkey']} on Node {machine['node']}, "
        f"LiteLLM {machine['litellm']} on {machine['python']}. {len(result['rounds'])} round(s), order rotated; medians of "
        "the rounds. All of it shares the machine: the load, the provider, the databases.", "",
        "*Added* is over the provider asked directly, in the same round. Portkey as measured checks no key and meters "
        "nothing; LiteLLM checks one key and keeps no spend; codexapi holds money durably before and settles it after.", "",
        *targets(result), "",
    ]
    parts += turn_lines(result.get("turns"))
    for name in cell_names(result):
        parts += [f"## {name[0].upper()}{name[1:]}", "", COLUMNS, "|---|" + "---:|" * 6]
        parts += [line(result, contender, name) for contender in contenders(result, name)]
        parts += ["", *stream_lines(result, name)]
    parts += [*breakdown_lines(result.get("breakdown")), *log_lines(result.get("log")), *soak_lines(result.get("soak"))]
    return "\n".join(parts).rstrip() + "\n"


def contenders(result, cell):
    found = {}
    for rounds in result["rounds"]:
        found.update({contender: None for contender, rows in rounds.items() if cell in rows})
    first = ["direct", "codexapi"]
    return [name for name in first if name in found] + sorted(name for name in found if name not in first)


def cell_names(result):
    found = {}
    for rounds in result["rounds"]:
        for rows in rounds.values():
            found.update(dict.fromkeys(rows))
    return list(found)


def rows_of(result, contender, cell):
    return [rounds[contender][cell] for rounds in result["rounds"] if cell in rounds.get(contender, {})]


def value(result, contender, cell, read):
    """The median over the rounds; `None` where there is none, or a row is void."""
    rows = rows_of(result, contender, cell)
    if not rows or any(row["void"] for row in rows):
        return None
    return median(read(row) for row in rows)


def added(result, contender, cell, percentile, of="latencyMicros"):
    """Milliseconds over the direct way, round by round."""
    differences = [added_in(rows, contender, cell, percentile, of) for rows in result["rounds"]]
    return None if None in differences or not differences else median(differences)


def added_in(rows, contender, cell, percentile="p50", of="latencyMicros"):
    """The same in one round or turn."""
    ours, direct = valid(rows, contender, cell), valid(rows, "direct", cell.replace(", one wallet", ""))
    return None if not ours or not direct else (ours[of][percentile] - direct[of][percentile]) / 1000


def rate_in(rows, contender, cell):
    row = valid(rows, contender, cell)
    return row and row["requestsPerSecond"]


def latency_in(rows, contender, cell, percentile):
    row = valid(rows, contender, cell)
    return row and row["latencyMicros"][percentile]


def valid(rows, contender, cell):
    row = rows.get(contender, {}).get(cell)
    return None if not row or row["void"] else row


def throughput(result, contender, cell):
    return value(result, contender, cell, lambda row: row["requestsPerSecond"])


def line(result, contender, cell):
    rows = rows_of(result, contender, cell)
    if any(row["void"] for row in rows):
        error = next(row["firstError"] for row in rows if row["void"])
        return f"| {contender} | void: {str(error)[:80]} | | | | | |"
    shown = [number(throughput(result, contender, cell), 0)]
    if contender == "direct":
        shown += [f"({number(value(result, contender, cell, lambda row, p=p: row['latencyMicros'][p] / 1000), 2)})"
                  for p in ("p50", "p90", "p99")] + ["", ""]
    else:
        shown += [number(added(result, contender, cell, p), 2) for p in ("p50", "p90", "p99")]
        cpu = number(value(result, contender, cell, lambda row: row["cpuMicros"]), 0)
        servers = value(result, contender, cell, lambda row: row["serversCpuMicros"])
        shown += [f"{cpu} + {number(servers, 0)}" if servers else cpu,
                  number(value(result, contender, cell, lambda row: row["residentMb"]), 0)]
    return f"| {contender} | " + " | ".join(shown) + " |"


def stream_lines(result, cell):
    if not cell.startswith("streamed"):
        return []
    lines = ["| contender | added to the first token, p50 ms | p99 ms | added per chunk, p50 ms | p99 ms |",
             "|---|---:|---:|---:|---:|"]
    for contender in contenders(result, cell):
        if contender != "direct":
            shown = [number(added(result, contender, cell, p, of), 2)
                     for of in ("firstByteMicros", "gapMicros") for p in ("p50", "p99")]
            lines.append(f"| {contender} | " + " | ".join(shown) + " |")
    return [*lines, ""]


def targets(result):
    """What we mean to reach, beside what was reached, as ratios of figures of this very run."""
    one, many = ("whole, 1 KB, 1 connection", "whole, 1 KB, 64 connections")
    commit = median(run["commitMicros"]["p50"] for run in result["commits"]) / 1000 if result["commits"] else None
    # Turns stand closer together than rounds.
    compared = result.get("turns") or result["rounds"]
    lines = ["| target | wanted | measured |", "|---|---|---|"]

    def row(what, wanted, measured):
        lines.append(f"| {what} | {wanted} | {'not measured' if measured is None else measured} |")

    def latency_ratio(peer):
        return spread(compared, lambda rows: quotient(added_in(rows, "codexapi", one), added_in(rows, peer, one)))

    def rate_ratio(cell, peer):
        return spread(compared, lambda rows: quotient(rate_in(rows, "codexapi", cell), rate_in(rows, peer, many)))

    if commit is not None:
        row("added p50, 1 connection", f"≤ 2 commits of {commit:.2f} ms + 0.2 ms = {2 * commit + 0.2:.2f} ms",
            spread(compared, lambda rows: added_in(rows, "codexapi", one), " ms"))
    row("  against Portkey's", "≤ 0.75", latency_ratio("portkey"))
    row("  against LiteLLM's", "≤ 0.1", latency_ratio("litellm"))
    row("requests/s, 64 connections, against Portkey", "≥ 8 (at least 4)", rate_ratio(many, "portkey"))
    row("  against LiteLLM", "≥ 60", rate_ratio(many, "litellm"))
    row("one hot wallet against a hundred", "≥ 0.9", rate_ratio(f"{many}, one wallet", "codexapi"))
    row("p99 at 64 connections, against Portkey's p50", "< 1", spread(compared, lambda rows: quotient(
        latency_in(rows, "codexapi", many, "p99"), latency_in(rows, "portkey", many, "p50"))))
    behind = value(result, "codexapi", many, lambda found: found["behindSeconds"])
    row("read models behind the log at the load's end", "< 1 s", None if behind is None else f"{behind:.2f} s")
    log = result.get("log")
    if log:
        appends, rebuilds, loads = log["appends"], log["rebuilds"], log["loads"]
        row("wallet commands, 512 tasks, against raw rows", "≥ 0.6",
            spread(appends["rawRows"], lambda turn: quotient(turn["commands"], turn["rawRows"])))
        for tasks, turns in two_nodes(appends):
            row(f"  of two nodes, wallets at home, against one, {tasks:,} tasks", "≥ 1",
                spread(turns, lambda turn: quotient(turn["twoNodes"], turn["oneNode"])))
        row("rebuild of balances and usage against pure SQL", "≥ 0.35",
            ratio(rebuilds["eventsPerSecond"], rebuilds["sqlEventsPerSecond"]))
        row("append to caught-up read models, p99, at 1 000 generations/s", "< 100 ms",
            f"{log['catchUp']['behindMicros']['p99'] / 1000:.0f} ms at {log['catchUp']['generationsPerSecond']}/s")
        row(f"cold start on {rebuilds['events']:,} events", "< 1 s", f"{log['start']['againMillis'] / 1000:.2f} s")
        row(f"cold load of a wallet of {loads['walletEvents']:,} events, p50", "< 20 ms",
            f"{loads['withSnapshotMicros']['p50'] / 1000:.1f} ms")
        slowest = log["pages"][0]
        row(f"slowest page at {log['generations']:,} generations, p95", "< 50 ms",
            f"{slowest['micros']['p95'] / 1000:.0f} ms, {slowest['path']}")
    soak = result.get("soak")
    if soak:
        row(f"resident memory after {soak['generations']:,} generations", "< 100 MB", f"{soak['residentMb']['last']} MB")
        row(f"its slope, {soak['minutes']} minutes' soak, second half", "about 0", f"{soak['slopeMbPerHour']} MB/hour")
    return lines


def turn_lines(turns):
    if not turns:
        return []
    lines = [
        "## In turns", "", f"All of them run, and each has the same load for some seconds, {len(turns)} times, order rotated: medians, "
        "and the least and the most. The targets that compare contenders go by this.", "",
        "| load | contender | requests/s | p50 ms |", "|---|---|---:|---:|",
    ]
    cells = dict.fromkeys(cell for turn in turns for rows in turn.values() for cell in rows)
    for cell in cells:
        for name in (name for name, rows in turns[0].items() if cell in rows):
            rate = spread(turns, lambda rows, name=name, cell=cell: rate_in(rows, name, cell), digits=0)
            wait = spread(turns, lambda rows, name=name, cell=cell: quotient(latency_in(rows, name, cell, "p50"), 1000))
            lines.append(f"| {cell} | {name} | {rate or 'void'} | {wait or 'void'} |")
    return [*lines, ""]


def breakdown_lines(found):
    if not found:
        return []
    cpu = found["cpuMicros"]
    lines = [
        "## Where the time goes", "", f"A load as above, 64 connections, {found['requestsPerSecond']:,.0f} requests/s.", "",
        "| process | CPU µs/request |", "|---|---:|", *(f"| {name} | {micros:,} |" for name, micros in cpu.items()),
        f"| together | {sum(cpu.values()):,} |", "",
        "Postgres by statement, as its log has it: while it writes that log, and with the wait for a CPU in it.", "",
        "| statement | µs/request | times in 1,000 requests |", "|---|---:|---:|",
    ]
    for one in found["statements"]:
        lines.append(f"| `{one['statement'].replace('|', chr(92) + '|')}` | {one['micros']:,} | {one['perThousand']:,} |")
    return [*lines, ""]


def log_lines(log):
    if not log:
        return []
    appends, rebuilds, sizes = log["appends"], log["rebuilds"], log["sizes"]
    three_events = sizes["eventBytes"] / max(sizes["events"], 1) * 3
    lines = [
        "## The log", "", f"{log['generations']:,} generations of {log['customers']:,} customers over thirty days, made "
        f"through the log's own append path ({log['filling']['generationsPerSecond']:,} generations/s, one process); "
        f"`verify` had nothing to say, in {log['verify']['seconds']:.0f} s and at most "
        f"{log['verify']['peakResidentMb']} MB.", "",
        "| wallet commands/s through the append path | 1 task | 64 tasks | 512 tasks | 1,024 tasks |", "|---|---:|---:|---:|---:|",
    ]
    for name, rates in (("100 wallets", appends["hundredWallets"]), ("one wallet", appends["oneWallet"])):
        lines.append(f"| {name} | " + " | ".join(f"{rate['commandsPerSecond']:,}" for rate in rates) + " |")
    lines += [
        "", f"In turns, {len(appends['rawRows'])} times: medians, and the least and the most. The targets go by this.", "",
        "| 100 wallets, 512 tasks; commands/s | raw rows, 512 a statement; rows/s |", "|---:|---:|",
        "| " + " | ".join(spread(appends["rawRows"], lambda turn, of=of: turn[of], digits=0) for of in ("commands", "rawRows")) + " |", "",
        "| 100 wallets, each at its home; commands/s | one node | two nodes |", "|---|---:|---:|",
    ]
    for tasks, turns in two_nodes(appends):
        one, two = (spread(turns, lambda turn, nodes=nodes: turn[nodes], digits=0) for nodes in ("oneNode", "twoNodes"))
        lines.append(f"| {tasks:,} tasks | {one} | {two} |")
    lines += [
        "",
        "| rebuild | events/s | seconds |", "|---|---:|---:|",
        f"| balances and usage | {rebuilds['eventsPerSecond']:,} | {rebuilds['seconds']:.1f} |",
        f"| the same in pure SQL | {rebuilds['sqlEventsPerSecond']:,} | {rebuilds['sqlSeconds']:.1f} |",
        f"| every read model | {rebuilds['allEventsPerSecond']:,} | {rebuilds['allSeconds']:.1f} |", "",
        f"Three events of the log take {three_events:,.0f} bytes, and the read tables "
        f"{sizes['readTableBytes'] / log['generations']:,.0f} a generation, indexes included; the largest tables beside it: "
        + ", ".join(f"{name} {size / 2**20:,.0f} MB" for name, size in sizes["tables"][:4]) + ".", "",
        "| page | KB | p50 ms | p95 ms |", "|---|---:|---:|---:|",
    ]
    for page in log["pages"]:
        micros = page["micros"]
        lines.append(f"| `{page['path']}` | {page['bytes'] / 1024:.0f} | {micros['p50'] / 1000:.1f} | {micros['p95'] / 1000:.1f} |")
    return [*lines, ""]


def soak_lines(soak):
    if not soak:
        return []
    memory = soak["residentMb"]
    return [
        "## Soak", "", f"`make soak` at commit {soak['commit']}: {soak['minutes']} minutes of 80 KB prompts, whole and streamed in turn; "
        f"{soak['requests']:,} answers read to their end, {soak['aborted']:,} left by their clients. Resident memory "
        f"{memory['first']} MB at first, {memory['atHalf']} MB at half time, {memory['last']} MB at the end, never more "
        f"than {memory['most']} MB; slope over the second half {soak['slopeMbPerHour']} MB an hour.", "",
    ]


def two_nodes(appends):
    return [(measured["tasks"], measured["turns"]) for measured in appends["twoNodes"]]


def ratio(ours, theirs):
    found = quotient(ours, theirs)
    return None if found is None else f"{found:.2f}"


def quotient(ours, theirs):
    return None if ours is None or not theirs else ours / theirs


def spread(compared, read, unit="", digits=2):
    """What `read` finds in each round or turn: the median, and the least and the most."""
    found = [read(rows) for rows in compared]
    if None in found or not found:
        return None
    shown = f"{number(median(found), digits)}{unit}"
    return shown if len(found) == 1 else f"{shown} ({number(min(found), digits)} to {number(max(found), digits)})"


def number(found, digits):
    return "–" if found is None else f"{found:,.{digits}f}"
