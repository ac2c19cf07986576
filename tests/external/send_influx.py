"""Writes and asks as clients of InfluxDB do, by influxdb-client.

    send_influx.py URL NANOSECONDS
"""

import sys

from influxdb_client import InfluxDBClient, Point, WritePrecision
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException

now_ns = int(sys.argv[2])
with InfluxDBClient(url=sys.argv[1], token="any", org="any", enable_gzip=True) as client:
    if not client.ping():
        sys.exit("ping")
    with client.write_api(write_options=SYNCHRONOUS) as write:
        point = Point("cpu").tag("host", "a b").field("usage", 1.5).field("up", True).field("name", "x").field("cores", 4)
        write.write(bucket="metrics", record=point.time(now_ns, WritePrecision.NS))
        write.write(bucket="metrics", record=[f"mem,host=h{n} free={n}i {now_ns // 1_000_000}" for n in range(1000)],
                    write_precision=WritePrecision.MS)
        try:
            write.write(bucket="metrics", record=["good f=1", "bad f=x"])
            sys.exit("a bad line was taken")
        except ApiException as error:
            if error.status != 400 or "line 2" not in str(error.body):
                sys.exit(f"a bad line: {error.status} {error.body}")
