"""What is asked of both servers about the data of `written.py`, by family of operators and functions.

Each query is asked at one moment, and over a range if it can be. A release of Prometheus that is older than the one whose
answers are ours differs in a few: `DIFFERS` names each with its reason, and a query that is named and agrees is a fault too.
"""

OVER_TIME = ["avg", "min", "max", "sum", "count", "stddev", "stdvar", "last", "present", "mad"]
RATES = ["rate", "increase", "irate"]

FAMILIES = {
    "selectors": [
        "up", "up{job=\"api\"}", "up{job!=\"api\"}", "up{instance=~\"host[01].*\"}", "up{instance!~\"host[01].*\"}",
        "{__name__=~\"memory.*|temperature\"}", "requests_total{method=\"GET\",code=~\"4..|5..\"}", "up{nothing=\"\"}",
        "up offset 10m", "up offset -3m", "memory_bytes @ AT", "memory_bytes @ AT offset 2m", "memory_bytes offset 2m @ AT",
        "temperature @ start()", "temperature @ end()", "gone", "gone offset 15m", "flapping", "sparse",
        "{\"härte.grad\"}", "{\"härte.grad\",\"straße\"=~\"süd.*\"}", "memory_bytes[2m]", "flapping[5m] offset 1m",
        "native_seconds", "custom_seconds offset 5m", "{job=\"api\",__name__=~\"native.*\"}", "odd",
    ],
    "arithmetic": [
        "memory_bytes / 1024 / 1024", "memory_bytes + limit_bytes", "limit_bytes - memory_bytes", "temperature * -2",
        "queue % 7", "temperature ^ 2", "2 ^ 3 ^ 2 - -1 % 3", "-temperature", "+temperature", "1 / 0 + temperature",
        "temperature atan2 queue{shard=\"s1\"}", "temperature * on (job, instance) up", "odd * 2", "odd / 0",
        "native_seconds * 2", "native_seconds / 4", "2 * custom_seconds", "-native_seconds",
        "native_gauge + native_gauge", "custom_seconds - custom_seconds", "0x1F + 1e3 - .5", "temperature - time()",
    ],
    "comparisons and sets": [
        "temperature > 0", "temperature >= bool 0", "0 < temperature", "temperature == temperature", "up != 1",
        "temperature < queue{shard=\"s1\"}", "temperature <= bool on (job, instance) queue{shard=\"s1\"}", "odd == odd",
        "odd != odd", "1 > bool 2", "temperature and temperature > 0", "up and on (job) temperature > 5",
        "temperature or queue", "up or on (job) temperature", "up unless on (job, instance) temperature > 0",
        "temperature unless ignoring (room) up == 1", "(temperature > 0) or vector(-1)", "native_seconds == native_seconds",
        "native_seconds != native_seconds", "native_seconds and custom_seconds", "gone or up", "up and vector(1)",
    ],
    "matching": [
        "memory_bytes / on (job, instance) limit_bytes", "memory_bytes / ignoring (x) limit_bytes",
        "queue / on (job, instance) group_left up", "up * on (job, instance) group_right queue",
        "queue * on (job, instance) group_left (version) build_info", "temperature * ignoring (room) up",
        "requests_total / on (job, instance) group_left limit_bytes",
        "sum by (job) (queue) / on (job) group_left count by (job) (up)",
        "queue - on (job, instance) group_left (room) temperature", "queue > on (job, instance) group_left temperature",
        "requests_total{code=\"500\"} / ignoring (code) requests_total{code=\"200\"}",
        "requests_total / ignoring (code) group_left requests_total{code=\"200\"}",
        "up == bool on (job, instance) build_info", "sum (up) * on () group_right up",
        "sum by (job) (memory_bytes) - on (job) sum by (job) (limit_bytes)",
        "queue * ignoring (shard, region) group_left (region) (sum by (job, instance, region) (target_info))",
        "avg by (job) (temperature) > on (job) avg by (job) (queue)",
    ],
    "sums": [
        *(f"{op} by (job) (queue)" for op in ("sum", "avg", "min", "max", "count", "group")),
        *(f"{op} without (shard, instance) (queue)" for op in ("sum", "avg", "min", "max", "count", "group")),
        "sum(odd)", "avg(odd)", "min(odd)", "max(odd)", "count({job=\"api\"})", "sum by (nothing) (up)", "sum(gone)",
        "sum by (__name__) ({__name__=~\"up|queue\"})",
    ],
    "spread": [
        *(f"{op} by (job) (queue)" for op in ("stddev", "stdvar")), "stddev(odd)", "stdvar without (instance) (temperature)",
        *(f"quantile({q}, queue)" for q in ("0", "0.3", "0.5", "0.99", "1", "-1", "2", "NaN")),
        "quantile by (job) (0.9, temperature)", "quantile without (shard) (0.25, queue)", "count_values(\"value\", up)",
        "count_values by (job) (\"v\", floor(temperature / 10))", "count_values without (instance) (\"v\", up)",
        "stdvar(constant)", "quantile(scalar(up{instance=\"host0:9100\",job=\"api\"}), queue)",
    ],
    "ranks": [
        "topk(3, queue)", "bottomk(3, queue)", "topk by (job) (1, temperature)", "bottomk without (shard) (2, queue)",
        "topk(0, queue)", "topk(100, temperature)", "topk(2, odd)", "bottomk(2, odd)", "sort(temperature)",
        "sort_desc(queue)", "sort_by_label(queue, \"shard\", \"instance\", \"job\")", "sort_by_label_desc(up, \"instance\", \"job\")",
        "limitk(100, queue)", "limit_ratio(1, queue)", "limit_ratio(-1, queue)", "count(limitk(2, queue))",
        "count(limit_ratio(0.5, queue)) + count(limit_ratio(-0.5, queue))", "sort(odd)", "limitk by (job) (0, queue)",
    ],
    "rates": [
        *(f"{f}(requests_total[{w}])" for f in RATES for w in ("1m", "5m", "33s")),
        "delta(temperature[5m])", "idelta(temperature[2m])", "deriv(memory_bytes[10m])", "deriv(constant[5m])",
        "predict_linear(memory_bytes[10m], 3600)", "resets(requests_total[1h])", "changes(up[30m])", "changes(odd[10m])",
        "rate(flapping[5m])", "rate(sparse[10m])", "increase(gone[1h])", "sum by (job) (rate(requests_total[5m]))",
        "double_exponential_smoothing(temperature[10m], 0.3, 0.6)", "delta(odd[5m])", "deriv(odd[9m])",
    ],
    "over time": [
        *(f"{f}_over_time(temperature[7m])" for f in OVER_TIME), *(f"{f}_over_time(odd[4m])" for f in OVER_TIME[:7]),
        *(f"{f}_over_time(flapping[3m])" for f in ("last", "count", "absent")), "quantile_over_time(0.4, temperature[7m])",
        "quantile_over_time(1.5, odd[4m])", "ts_of_max_over_time(temperature[7m])", "ts_of_min_over_time(temperature[7m])",
        "ts_of_last_over_time(sparse[20m])",
    ],
    "classic histograms": [
        *(f"histogram_quantile({q}, rate(latency_seconds_bucket[5m]))" for q in ("0", "0.5", "0.9", "1", "-1", "2", "NaN")),
        "histogram_quantile(0.95, sum by (le) (rate(latency_seconds_bucket[5m])))",
        "histogram_quantile(0.95, sum by (le, job) (rate(latency_seconds_bucket[5m])))",
        "histogram_quantile(0.5, latency_seconds_bucket)", "histogram_quantile(0.5, latency_seconds_bucket{le!=\"+Inf\"})",
        "histogram_quantile(0.5, latency_seconds_bucket{le=\"+Inf\"})", "histogram_quantile(0.5, queue)",
        "histogram_fraction(0, 0.1, rate(latency_seconds_bucket[5m]))", "histogram_fraction(0.05, 3, latency_seconds_bucket)",
        "rate(latency_seconds_sum[5m]) / rate(latency_seconds_count[5m])",
        "sum by (le) (latency_seconds_bucket) / ignoring (le) group_left sum (latency_seconds_count)",
    ],
    "native histograms": [
        *(f"histogram_{f}({m})" for f in ("count", "sum", "avg", "stddev", "stdvar") for m in ("native_seconds", "custom_seconds")),
        *(f"histogram_quantile({q}, native_seconds)" for q in ("0", "0.3", "0.9", "1")),
        "histogram_quantile(0.5, custom_seconds)", "histogram_fraction(-1, 2, native_seconds)", "histogram_fraction(0, 0.3, custom_seconds)",
        "histogram_quantile(0.9, rate(native_seconds[5m]))", "rate(native_seconds[5m])", "increase(native_seconds[3m])",
        "irate(native_seconds[2m])", "delta(native_gauge[5m])", "sum by (kind) (native_seconds)", "avg by (kind) (native_gauge)",
        "sum(rate(native_seconds[5m]))", "sum_over_time(native_gauge[3m])", "avg_over_time(native_gauge[3m])",
        "last_over_time(native_seconds[3m])", "count_over_time(native_seconds[5m])", "resets(native_seconds[1h])",
        "changes(custom_seconds[10m])", "count(native_seconds)", "rate(custom_seconds[5m])", "custom_gauge",
        "histogram_avg(rate(native_seconds[10m]))", "present_over_time(native_gauge[3m])", "absent(native_seconds)",
        "idelta(native_gauge[2m])", "native_seconds > 1", "topk(1, native_seconds)",
    ],
    "labels": [
        "label_replace(up, \"host\", \"$1\", \"instance\", \"(.*):.*\")", "label_replace(up, \"host\", \"$2\", \"instance\", \"(h)(.*):.*\")",
        "label_replace(up, \"job\", \"\", \"job\", \".*\")", "label_replace(up, \"x\", \"y\", \"nothing\", \"\")",
        "label_replace(up, \"x\", \"${name}!\", \"job\", \"(?P<name>.).*\")", "label_replace(up, \"job\", \"$1$1\", \"job\", \"(a).*\")",
        "label_replace(up, \"__name__\", \"renamed\", \"\", \"\")", "label_replace(up, \"x\", \"$1\", \"instance\", \"9100\")",
        "label_replace(native_seconds, \"k\", \"$1\", \"kind\", \"(.).*\")", "label_replace(vector(1), \"a\", \"b\", \"\", \"\")",
        "label_join(up, \"x\", \"-\", \"job\", \"instance\")", "label_join(up, \"x\", \"-\")", "label_join(up, \"job\", \"\", \"nothing\")",
        "label_join(queue, \"all\", \"/\", \"job\", \"nothing\", \"shard\")", "label_join(rate(requests_total[5m]), \"mc\", \" \", \"method\", \"code\")",
        "sum by (host) (label_replace(queue, \"host\", \"$1\", \"instance\", \"(.*):.*\"))",
        "label_replace({\"härte.grad\"}, \"straße\", \"$1\", \"straße\", \"(.*) 1\")",
    ],
    "mathematics": [
        *(f"{f}(temperature)" for f in ("abs", "ceil", "floor", "exp", "ln", "log2", "log10", "sqrt", "sgn", "round")),
        *(f"{f}(temperature / 100)" for f in ("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh")),
        "deg(temperature)", "rad(temperature)", "pi()", "round(temperature, 0.25)", "clamp(temperature, -5, 5)",
        "clamp_min(odd, 0)", "clamp_max(odd, 0)", "clamp(temperature, 5, -5)", "sgn(odd)", "round(odd)",
    ],
    "times": [
        *(f"{f}(boot_seconds)" for f in ("year", "month", "day_of_month", "day_of_week", "day_of_year", "days_in_month", "hour", "minute")),
        *(f"{f}()" for f in ("time", "year", "month", "hour", "minute", "day_of_week")), "timestamp(up)", "timestamp(up offset 1m)",
        "time() - timestamp(up)", "time() - boot_seconds", "timestamp(timestamp(up))", "hour(vector(0))", "year(odd)",
        "timestamp(memory_bytes @ AT)",
    ],
    "subqueries": [
        "max_over_time(rate(requests_total[2m])[20m:1m])", "avg_over_time(temperature[10m:30s])", "temperature[5m:1m]",
        "min_over_time((temperature > 0)[15m:])", "sum_over_time(sum by (job) (queue)[5m:20s])", "rate(sum by (job) (up)[10m:15s])",
        "max_over_time(deriv(memory_bytes[5m])[10m:2m])", "avg_over_time(temperature[10m:30s] offset 5m)",
        "avg_over_time(temperature[10m:30s] @ AT)", "count_over_time(up[7m:11s])", "last_over_time(gone[1h:30s])",
        "quantile_over_time(0.5, sum(queue)[10m:17s])", "max_over_time(avg_over_time(temperature[2m])[10m:1m])",
        "stddev_over_time(sum by (job) (rate(requests_total[1m]))[10m:1m])", "sum_over_time(vector(1)[10m:1m])",
        "max_over_time(max_over_time(temperature[5m:1m])[10m:2m])", "changes(up[10m:15s] offset -2m)",
        "rate(histogram_count(native_seconds)[10m:15s])", "sum_over_time(native_gauge[3m:30s])",
    ],
    "presence": [
        "absent(up)", "absent(nobody)", "absent(up{job=\"nobody\"})", "absent(up{job=\"a\",job=\"b\",x=\"y\"})",
        "absent(sum(nobody))", "absent_over_time(gone[3m])", "absent_over_time(nobody{a=\"b\",c=~\"d\"}[5m])",
        "absent_over_time(sparse[2m])", "scalar(up{job=\"api\",instance=\"host0:9100\"})", "scalar(up)", "scalar(nobody)",
        "vector(3)", "vector(time())", "vector(scalar(constant)) + 1", "nobody or vector(0)", "absent(up > 5)",
        "absent(rate(nobody{x=\"y\"}[5m]))", "\"a string\"", "scalar(native_seconds)",
    ],
    "information": [
        "info(up)", "info(queue, {region=~\".+\"})", "info(rate(requests_total[5m]), {tier=\"gold\"})", "info(up, {region=\"eu\"})",
        "info(up, {__name__=\"build_info\"})", "info(up, {__name__=~\".+_info\",version=~\".+\"})", "info(up, {nothing=\"x\"})",
        "info(up, {nothing=~\".*\"})", "info(temperature, {tier!=\"gold\"})", "info(memory_bytes)", "info(gone)",
        "sum by (region) (info(queue, {region!=\"\"}))", "info(up offset 5m)", "info(up @ AT)", "info(target_info)",
        "up * on (job, instance) group_left (region, tier) target_info", "count by (version) (info(up, {__name__=\"build_info\"}))",
    ],
}

# A query, and why Prometheus 3.5 answers it otherwise.
DIFFERS = {
    "histogram_quantile(0.5, queue)": "the warning names the metric, which now only delayed name removal leaves there to be named",
    "histogram_fraction(0, 0.1, rate(latency_seconds_bucket[5m]))": "NaN for a bound at zero, below the first bucket's bound",
    "info(up offset 5m)": "the info series was looked for at the time of the step, now at that of the samples",
    "info(up @ AT)": "the info series was looked for at the time of the step, now at that of the samples",
}

# The least number of queries of a family, and of all.
FAMILY_MIN, ALL_MIN = 15, 300
