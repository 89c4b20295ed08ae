#!/usr/bin/env python3
"""Prints starling.json: python3 dashboard.py > starling.json

A dashboard is mostly repetition; what is not is below: the rows, and in each its panels as
(title, expressions by legend, unit, what it tells).
"""

import json

SELECT = 'job=~"$job", instance=~"$instance"'
RATE = "[$__rate_interval]"
HEIGHT = 8
WIDTH = 24
GRAPH_WIDTH = 8


def m(name, labels=""):
    """A metric of the agents that are looked at."""
    return f"{name}{{{SELECT}{', ' + labels if labels else ''}}}"


def rate(name, labels=""):
    return f"rate({m(name, labels)}{RATE})"


def quantile(q, name):
    return f"histogram_quantile({q}, sum by (le) ({rate(name + '_bucket')}))"


def by(labels, expr, how="sum"):
    return f"{how} by ({labels}) ({expr})"


def total(expr):
    return f"sum({expr})"


DEST = 'destination=~"$destination"'
LOST = DEST + ', reason!="maybe_stored"'

STATS = [
    ("Agents", f"count({m('starling_build_info')})", "none", None, "That are heard of."),
    ("Not ready", f"sum(1 - {m('starling_ready')})", "none", 1, "Starting, stopping, or cut off: `starling status`."),
    ("Needs a look", f"sum({m('starling_cluster_notices')}) or vector(0)", "none", 1, "States of the fleet: `starling status` says what to do."),
    ("Targets", f"sum({m('starling_scrape_targets')})", "none", None, "That are scraped, each by its owner."),
    ("Targets down", total(m("starling_scrape_targets", 'health="down"')), "none", None, "`starling targets --down`"),
    ("Samples/s", f"sum({rate('starling_scrape_samples_total')})", "short", None, "Taken from targets."),
    ("Oldest unsent", f"max({m('starling_outbox_oldest_sample_age_seconds', DEST)})", "s", 300, "`starling queues`"),
    ("Lost in 24 h", f"sum(increase({m('starling_outbox_dropped_samples_total', LOST)}[24h]))", "short", 1, "Samples that were given up."),
]

# Column, expression and unit; rows are joined by instance.
MEMBERS = [
    ("Version", by("instance, name, cluster, version", f"{m('starling_build_info')} * on (job, instance) group_left (name, cluster) {m('starling_node_info')}"), "none"),
    ("Ready", by("instance", m("starling_ready")), "none"),
    ("Sees alive", by("instance", m("starling_cluster_members", 'state="alive"')), "none"),
    ("Slots", by("instance", m("starling_ownership_slots")), "none"),
    ("Targets", by("instance", m("starling_scrape_targets")), "none"),
    ("Samples/s", by("instance", rate("starling_scrape_samples_total")), "short"),
    ("Unsent", by("instance", m("starling_outbox_samples")), "short"),
    ("CPU", by("instance", f"{rate('process_cpu_seconds_total')} and on (job, instance) starling_build_info"), "percentunit"),
    ("Memory", by("instance", f"{m('process_resident_memory_bytes')} and on (job, instance) starling_build_info"), "bytes"),
    ("Up since", by("instance", f"1000 * ({m('process_start_time_seconds')} and on (job, instance) starling_build_info)"), "dateTimeFromNow"),
]


def own(name):
    """A metric of processes, of agents alone."""
    return f"({m(name)} and on (job, instance) starling_build_info)"


ROWS = [
    ("Scraping", [
        ("Samples taken",
         {"{{instance}}": by("instance", rate("starling_scrape_samples_total"))},
         "short", "Per second, after relabelling."),
        ("Targets by health",
         {"{{health}}": by("health", m("starling_scrape_targets"))},
         "none", "`starling targets --down` names those that are."),
        ("Scrapes by outcome", {"{{outcome}}": by("outcome", rate("starling_scrape_scrapes_total"))}, "ops", ""),
        ("Scrape duration",
         {"median": quantile(0.5, "starling_scrape_duration_seconds"),
          "99 %": quantile(0.99, "starling_scrape_duration_seconds")},
         "s", ""),
        ("Lateness",
         {"median": quantile(0.5, "starling_scrape_lateness_seconds"),
          "99 %": quantile(0.99, "starling_scrape_lateness_seconds")},
         "s", "How long after its instant a scrape starts. It rises when the host is short of CPU."),
        ("Scrapes not made",
         {"missed {{instance}}": by("instance", rate("starling_scrape_ticks_missed_total")),
          "catch-ups {{instance}}": by("instance", rate("starling_scrape_catch_ups_total"))},
         "ops", "Missed: due and not made. Catch-ups: made off the ticks, after a member died."),
        ("New series",
         {"{{instance}}": by("instance", rate("starling_scrape_series_added_total"))},
         "short", "A rate that stays high is churn."),
        ("Samples left out",
         {"{{instance}}": by("instance", rate("starling_scrape_samples_untimely_total"))},
         "short", "Not after the last one of their series, or far in the future."),
        ("Bodies", {"{{instance}}": by("instance", rate("starling_scrape_body_bytes_total"))}, "Bps", "Uncompressed."),
    ]),
    ("Queue and sending", [
        ("Age of the oldest unsent sample",
         {"{{destination}} {{instance}}": by("destination, instance", m("starling_outbox_oldest_sample_age_seconds", DEST), "max")},
         "s", "The one number to watch: it rises when the destination does not take samples."),
        ("Unsent samples",
         {"{{destination}} {{instance}}": by("destination, instance", m("starling_outbox_samples", DEST))},
         "short", ""),
        ("Queue, of what there is room for",
         {"{{destination}} {{instance}}": f"{m('starling_outbox_bytes', DEST)} / {m('starling_outbox_max_bytes', DEST)}"},
         "percentunit", "At 100 % the oldest goes, or scrapes wait."),
        ("In and out",
         {"in": f"sum({rate('starling_outbox_appended_samples_total', DEST)})",
          "sent": f"sum({rate('starling_outbox_sent_samples_total', DEST)})"},
         "short", "Samples a second, all destinations together."),
        ("Samples lost, by reason",
         {"{{reason}} {{destination}}": by("destination, reason", rate("starling_outbox_dropped_samples_total", DEST))},
         "short", "docs/operate.md has the reasons."),
        ("Requests by answer",
         {"{{destination}} {{code}}": by("destination, code", rate("starling_outbox_requests_total", DEST))},
         "reqps", ""),
        ("Request duration",
         {"median": quantile(0.5, "starling_outbox_request_duration_seconds"),
          "99 %": quantile(0.99, "starling_outbox_request_duration_seconds")},
         "s", ""),
        ("Retries and requests under way",
         {"retries/s {{destination}}": by("destination", rate("starling_outbox_retries_total", DEST)),
          "under way {{destination}}": by("destination", m("starling_outbox_requests_in_flight", DEST))},
         "short", ""),
        ("Trouble",
         {"refused {{destination}} {{instance}}": m("starling_outbox_refused", DEST),
          "disk fails {{destination}} {{instance}}": f"1 - {m('starling_outbox_disk_works', DEST)}",
          "full {{destination}} {{instance}}": m("starling_outbox_full", DEST)},
         "none", "1 while a destination refuses us, the disk can't be written, or scrapes wait for room."),
        ("On disk",
         {"{{destination}} {{instance}}": m("starling_outbox_disk_bytes", DEST)},
         "bytes", "Segments, those that are sent in part included."),
        ("Damage found",
         {"torn {{destination}}": by("destination", f"increase({m('starling_outbox_torn_segments_total', DEST)}{RATE})"),
          "corrupt {{destination}}": by("destination", f"increase({m('starling_outbox_corrupt_places_total', DEST)}{RATE})"),
          "write errors {{destination}}": by("destination", f"increase({m('starling_outbox_disk_errors_total', DEST)}{RATE})")},
         "short", "Torn tails are of a crash or a power loss; the others of the disk."),
        ("Held for other members",
         {"{{destination}} {{instance}}": m("starling_outbox_held_records", DEST)},
         "short", "Records that wait for a former owner, or are on their way to a new one."),
    ]),
    ("Division and hand-over", [
        ("Slots", {"{{instance}}": m("starling_ownership_slots")}, "none", "Of 4096; a step is a change of owners."),
        ("Load by share",
         {"{{instance}}": m("starling_ownership_samples_per_second")},
         "short", "Samples a second that a member's slots bring."),
        ("Imbalance",
         {"by {{by}}": by("by", m("starling_ownership_imbalance_ratio"), "max")},
         "none", "What the hottest member has, as a multiple of its fair share."),
        ("Slots that moved, by reason",
         {"{{reason}}": f"max by (reason) (increase({m('starling_ownership_slot_moves_total')}{RATE}))"},
         "none", "As the members heard of it."),
        ("Gap of moved targets",
         {"99 %": quantile(0.99, "starling_ownership_gap_seconds")},
         "s", "From the last scrape there to the first one here: about the interval."),
        ("News that came late",
         {"{{instance}}": f"increase({m('starling_fence_late_total')}{RATE})"},
         "none", "Of a change of owners, after its instant. 0 is well."),
        ("Being handed over",
         {"{{direction}} {{instance}}": m("starling_handover_lines"),
          "refused {{instance}}": m("starling_handover_refused_lines")},
         "none", "Slots by destination."),
        ("Longest wait", {"{{instance}}": m("starling_handover_longest_wait_seconds")}, "s", ""),
        ("Hand-over duration",
         {"99 %": quantile(0.99, "starling_handover_duration_seconds")},
         "s", "From the change of owners until all was given, or could be sent."),
        ("Unsent samples that changed hands",
         {"taken {{instance}}": by("instance", rate("starling_outbox_taken_samples_total", DEST)),
          "given {{instance}}": by("instance", rate("starling_outbox_given_samples_total", DEST))},
         "short", ""),
        ("Targets adopted",
         {"{{instance}}": f"increase({m('starling_scrape_targets_adopted_total')}{RATE})"},
         "none", "Whose series a former owner has told of."),
        ("On hold",
         {"{{instance}}": m("starling_ownership_on_hold")},
         "none", "1 while a member does nothing that is divided."),
    ]),
    ("Membership", [
        ("Members by state",
         {"{{state}}": by("state", m("starling_cluster_members"), "max")},
         "none", "The most that any member knows of."),
        ("What needs a look",
         {"{{kind}} {{instance}}": f"{m('starling_cluster_notices')} > 0"},
         "none", "Empty is good. docs/clustering.md says what each means."),
        ("Clock beside the fleet's",
         {"{{instance}}": m("starling_cluster_clock_offset_seconds")},
         "s", "Beyond 0.5 s it is a notice."),
        ("Gossip",
         {"sent {{instance}}": by("instance", rate("starling_cluster_gossip_sent_bytes_total")),
          "received {{instance}}": by("instance", rate("starling_cluster_gossip_received_bytes_total"))},
         "Bps", ""),
        ("Between members over TCP",
         {"{{direction}} {{instance}}": by("direction, instance", rate("starling_cluster_channel_bytes_total"))},
         "Bps", "Hand-over, questions, overrides."),
        ("Datagrams thrown away",
         {"{{reason}}": by("reason", rate("starling_cluster_rejected_datagrams_total"))},
         "pps", "`unproven` and `own` are normal."),
    ]),
    ("Discovery and configuration", [
        ("Targets found",
         {"{{exported_job}} {{instance}}": m("starling_discovery_targets")},
         "none", "By job of the configuration; of a divided job all members show the same."),
        ("Discovery failures",
         {"{{kind}} {{instance}}": f"increase({m('starling_discovery_refresh_failures_total')}{RATE})"},
         "none", ""),
        ("Configuration in force since",
         {"{{instance}}": f"time() - {m('starling_config_last_reload_success_timestamp_seconds')}",
          "refused {{instance}}": f"(1 - {m('starling_config_last_reload_successful')}) > 0"},
         "s", ""),
    ]),
    ("History, log and API", [
        ("History file", {"{{instance}}": m("starling_history_bytes")}, "bytes", ""),
        ("History entries",
         {"written {{instance}}": by("instance", rate("starling_history_entries_total")),
          "lost {{instance}}": by("instance", rate("starling_history_lost_entries_total"))},
         "ops", ""),
        ("Log lines",
         {"{{level}}": by("level", rate("starling_log_lines_total")),
          "left out ({{level}})": by("level", rate("starling_log_left_out_lines_total"))},
         "ops", "Left out: too many came from one place in the code."),
        ("Requests not let in",
         {"{{status}} {{instance}}": by("status, instance", rate("starling_admin_refused_requests_total"))},
         "reqps", "By the admin API."),
    ]),
    ("Resources", [
        ("CPU",
         {"{{instance}}": f"rate({m('process_cpu_seconds_total')}{RATE}) and on (job, instance) starling_build_info"},
         "percentunit", "100 % is one core."),
        ("Memory",
         {"{{instance}}": own("process_resident_memory_bytes"),
          "limit {{instance}}": m("starling_memory_limit_bytes")},
         "bytes", ""),
        ("Open files",
         {"{{instance}}": f"{own('process_open_fds')} / {own('process_max_fds')}"},
         "percentunit", "Of those that may be open."),
        ("Threads", {"{{instance}}": own("process_threads")}, "none", ""),
        ("Starts",
         {"{{instance}}": f"resets({m('process_cpu_seconds_total')}{RATE}) and on (job, instance) starling_build_info"},
         "none", ""),
    ]),
]

SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def thresholds(limit):
    steps = [{"color": "green", "value": None}]
    if limit is not None:
        steps.append({"color": "red", "value": limit})
    return {"mode": "absolute", "steps": steps}


def target(number, expr, legend="", table=False):
    shape = {"format": "table", "instant": True, "range": False} if table else {"range": True}
    return {"datasource": SOURCE, "expr": expr, "legendFormat": legend, "refId": chr(ord("A") + number), **shape}


def panel(kind, title, grid, unit, about, targets, limit=None, options=None, custom=None):
    return {
        "type": kind,
        "title": title,
        "description": about,
        "datasource": SOURCE,
        "gridPos": grid,
        "targets": targets,
        "fieldConfig": {
            "defaults": {"unit": unit, "min": 0 if kind == "timeseries" else None, "thresholds": thresholds(limit), "custom": custom or {}},
            "overrides": [],
        },
        "options": options or {},
    }


def stat(number, title, expr, unit, limit, about):
    grid = {"x": 3 * number, "y": 1, "w": 3, "h": 4}
    options = {"colorMode": "value", "graphMode": "area", "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}
    return panel("stat", title, grid, unit, about, [target(0, expr)], limit, options)


def members():
    targets = [target(number, expr, table=True) for number, (_, expr, _) in enumerate(MEMBERS)]
    table = panel("table", "Members", {"x": 0, "y": 5, "w": WIDTH, "h": 9}, "none", "What each agent says of itself.", targets)
    letters = [chr(ord("A") + number) for number in range(len(MEMBERS))]
    renamed = {f"Value #{letter}": name for letter, (name, _, _) in zip(letters, MEMBERS)}
    # The version is a label; the value of the metric that carries it says nothing.
    renamed["Value #A"] = "1"
    excluded = {"Time": True, "Value #A": True, **{f"Time {number}": True for number in range(1, len(MEMBERS) + 1)}}
    table["transformations"] = [
        {"id": "joinByField", "options": {"byField": "instance", "mode": "outer"}},
        {"id": "organize", "options": {"excludeByName": excluded, "renameByName": renamed, "indexByName": {"name": 0, "instance": 1, "cluster": 2, "version": 3}}},
    ]
    table["fieldConfig"]["overrides"] = [
        {"matcher": {"id": "byName", "options": name}, "properties": [{"id": "unit", "value": unit}]}
        for name, _, unit in MEMBERS[1:]
        if unit != "none"
    ]
    return table


def graph(title, x, y, exprs, unit, about):
    targets = [target(number, expr, legend) for number, (legend, expr) in enumerate(exprs.items())]
    grid = {"x": x, "y": y, "w": GRAPH_WIDTH, "h": HEIGHT}
    options = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
    shown = panel("timeseries", title, grid, unit, about, targets, None, options, {"lineWidth": 1, "fillOpacity": 8, "showPoints": "never"})
    if "offset" in next(iter(exprs.values())):
        # A clock is fast or slow.
        shown["fieldConfig"]["defaults"]["min"] = None
    return shown


def panels():
    def row(title, y):
        return {"type": "row", "title": title, "collapsed": False, "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1}, "panels": []}

    found = [row("Fleet", 0)]
    found += [stat(number, *one) for number, one in enumerate(STATS)]
    found.append(members())
    y = 14
    for title, graphs in ROWS:
        found.append(row(title, y))
        y += 1
        x = 0
        for name, exprs, unit, about in graphs:
            if x + GRAPH_WIDTH > WIDTH:
                x, y = 0, y + HEIGHT
            found.append(graph(name, x, y, exprs, unit, about))
            x += GRAPH_WIDTH
        y += HEIGHT
    for number, one in enumerate(found, 1):
        one["id"] = number
    return found


def variable(name, label, query):
    return {
        "type": "query", "name": name, "label": label, "datasource": SOURCE,
        "query": {"query": query, "refId": name}, "definition": query,
        "refresh": 2, "sort": 1, "multi": True, "includeAll": True, "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


DASHBOARD = {
    "id": None,
    "uid": "starling",
    "title": "Starling",
    "description": "Agents that scrape Prometheus targets as a fleet: who is here, what is scraped, what has not left yet, what moved.",
    "tags": ["starling", "prometheus"],
    "schemaVersion": 39,
    "version": 1,
    "editable": True,
    "timezone": "browser",
    "refresh": "30s",
    "time": {"from": "now-6h", "to": "now"},
    "graphTooltip": 1,
    "annotations": {
        "list": [
            {
                "name": "Changes of owners", "enable": True, "iconColor": "orange", "datasource": SOURCE,
                "expr": f"sum by (reason) (increase({m('starling_ownership_slot_moves_total')}[1m])) > 0",
                "titleFormat": "slots moved", "textFormat": "{{reason}}", "step": "60s",
            }
        ]
    },
    "links": [],
    "templating": {
        "list": [
            {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "refresh": 1, "current": {}},
            variable("job", "Job", "label_values(starling_build_info, job)"),
            variable("instance", "Instance", 'label_values(starling_build_info{job=~"$job"}, instance)'),
            variable("destination", "Destination", 'label_values(starling_outbox_samples{job=~"$job"}, destination)'),
        ]
    },
    "panels": panels(),
}

if __name__ == "__main__":
    print(json.dumps(DASHBOARD, indent=1, ensure_ascii=False))
