"""Asks a server with Python's prometheus-api-client and prints what it got as JSON. Runs in the environment of get_clients.

    ask_by_api_client.py URL START_S END_S
"""

import datetime
import json
import sys

from prometheus_api_client import PrometheusConnect

url, start, end = sys.argv[1], *(datetime.datetime.fromtimestamp(float(text)) for text in sys.argv[2:4])
server = PrometheusConnect(url=url, disable_ssl=True)
ranged = server.get_metric_range_data("up", {"job": "a"}, start_time=start, end_time=end)
print(json.dumps({
    "is_connected": server.check_prometheus_connection(),
    "metrics": sorted(server.all_metrics()),
    "jobs": sorted(server.get_label_values("job")),
    "labels": sorted(server.get_label_names()),
    "now": [row["value"][1] for row in server.get_current_metric_value("gone_by", {"job": "a"})],
    "sum": [row["value"][1] for row in server.custom_query("sum(up)", params={"time": end.timestamp()})],
    "steps": [len(row["values"]) for row in server.custom_query_range("sum(up)", start, end, "60")],
    "samples": [len(row["values"]) for row in ranged],
}))
