// Sends remote write 2.0 as client_golang's own API does it, and checks what is answered.
//
//	go_sender URL TENANT NOW_MS
//
// Writes floats, native histograms of each flavour, exemplars and metadata at NOW_MS, then a request of which one
// series cannot be taken. Ends with 0 if every count and every status is what the specification wants.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/exp/api/remote"
	writev2 "github.com/prometheus/client_golang/exp/api/remote/genproto/v2"
)

// request is a request in the making.
type request struct {
	symbols writev2.SymbolsTable
	series  []*writev2.TimeSeries
}

// refs are references to the labels name, value, name, value, …
func (r *request) refs(pairs ...string) []uint32 {
	var refs []uint32
	for _, text := range pairs {
		refs = append(refs, r.symbols.Symbolize(text))
	}
	return refs
}

func (r *request) add(series *writev2.TimeSeries) { r.series = append(r.series, series) }

func (r *request) send(api *remote.API) (remote.WriteResponseStats, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	message := &writev2.Request{Symbols: r.symbols.Symbols(), Timeseries: r.series}
	return api.Write(ctx, remote.WriteV2MessageType, message)
}

// Every kind of item: 2 samples, 3 histograms, 1 exemplar.
func everything(now int64) *request {
	r := &request{symbols: writev2.NewSymbolTable()}
	r.add(&writev2.TimeSeries{
		LabelsRefs:       r.refs("job", "go", "__name__", "go_sender_total"),
		Samples:          []*writev2.Sample{{Value: 1, Timestamp: now - 1000}, {Value: 3, Timestamp: now}},
		Exemplars:        []*writev2.Exemplar{{LabelsRefs: r.refs("trace_id", "t1"), Value: 2, Timestamp: now}},
		Metadata:         &writev2.Metadata{Type: writev2.Metadata_METRIC_TYPE_COUNTER, HelpRef: r.symbols.Symbolize("Sent by Go.")},
		CreatedTimestamp: now - 60_000,
	})
	integer := &writev2.Histogram{
		Count: &writev2.Histogram_CountInt{CountInt: 9}, Sum: 12.5, ZeroThreshold: 0.001,
		ZeroCount:      &writev2.Histogram_ZeroCountInt{ZeroCountInt: 2},
		PositiveSpans:  []*writev2.BucketSpan{{Offset: 0, Length: 2}, {Offset: 1, Length: 1}},
		PositiveDeltas: []int64{1, 1, -1},
		NegativeSpans:  []*writev2.BucketSpan{{Offset: 0, Length: 1}},
		NegativeDeltas: []int64{3}, Timestamp: now,
	}
	float := &writev2.Histogram{
		Count: &writev2.Histogram_CountFloat{CountFloat: 1.5}, Sum: 3,
		ZeroCount:      &writev2.Histogram_ZeroCountFloat{},
		PositiveSpans:  []*writev2.BucketSpan{{Offset: 0, Length: 1}},
		PositiveCounts: []float64{1.5}, Timestamp: now,
		ResetHint: writev2.Histogram_RESET_HINT_GAUGE,
	}
	custom := &writev2.Histogram{
		Count: &writev2.Histogram_CountInt{CountInt: 6}, Sum: 4, Schema: -53,
		ZeroCount:      &writev2.Histogram_ZeroCountInt{},
		PositiveSpans:  []*writev2.BucketSpan{{Offset: 0, Length: 3}},
		PositiveDeltas: []int64{1, 1, 1},
		CustomValues:   []float64{0.5, 1}, Timestamp: now,
	}
	for name, histogram := range map[string]*writev2.Histogram{"integer": integer, "float": float, "custom": custom} {
		r.add(&writev2.TimeSeries{
			LabelsRefs: r.refs("__name__", "go_sender_"+name, "job", "go"),
			Histograms: []*writev2.Histogram{histogram},
		})
	}
	return r
}

// Four samples, one of them without a metric name.
func partial(now int64) *request {
	r := &request{symbols: writev2.NewSymbolTable()}
	for _, labels := range [][]string{
		{"__name__", "go_sender_partial", "id", "1"}, {"job", "nameless"},
		{"__name__", "go_sender_partial", "id", "2"}, {"__name__", "go_sender_partial", "id", "3"},
	} {
		r.add(&writev2.TimeSeries{LabelsRefs: r.refs(labels...), Samples: []*writev2.Sample{{Value: 1, Timestamp: now}}})
	}
	return r
}

// tenant is who all requests are of.
type tenant string

func (t tenant) RoundTrip(request *http.Request) (*http.Response, error) {
	request.Header.Set("X-Scope-OrgID", string(t))
	return http.DefaultTransport.RoundTrip(request)
}

func check(what string, got, want any) {
	if got != want {
		fmt.Printf("DIFFERS %s: %v, wanted %v\n", what, got, want)
		os.Exit(1)
	}
	fmt.Printf("same    %s: %v\n", what, got)
}

func counts(stats remote.WriteResponseStats) string {
	return fmt.Sprintf("%d samples, %d histograms, %d exemplars", stats.Samples, stats.Histograms, stats.Exemplars)
}

func main() {
	now, err := strconv.ParseInt(os.Args[3], 10, 64)
	check("the time", err, nil)
	client := &http.Client{Transport: tenant(os.Args[2])}
	api, err := remote.NewAPI(os.Args[1], remote.WithAPIPath("api/v1/push"), remote.WithAPIHTTPClient(client))
	check("the address", err, nil)
	// Twice: by labels, then by numbers; the second changes nothing.
	for round := 1; round < 3; round++ {
		stats, err := everything(now).send(api)
		check(fmt.Sprintf("error of round %d", round), err, nil)
		check(fmt.Sprintf("written in round %d", round), counts(stats), "2 samples, 3 histograms, 1 exemplars")
	}
	stats, err := partial(now).send(api)
	check("a request with a bad series is refused", err != nil, true)
	check("it says which", strings.Contains(err.Error(), `400 Bad Request: 1 of 4 samples refused: {job="nameless"}: no metric name`), true)
	check("written of it", counts(stats), "3 samples, 0 histograms, 0 exemplars")
}
