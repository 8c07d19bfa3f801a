package api

import (
	"bytes"
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "rewrite what the client is generated from")

// TestDocumentIsCommitted: the client in apiclient is generated from testdata/openapi-3.0.json, which is what is served.
func TestDocumentIsCommitted(t *testing.T) {
	f := newFixture(t, nil)
	got := append(f.want(200, call{path: "/openapi-3.0.json"}, nil).Body.Bytes(), '\n')
	const file = "apiclient/openapi-3.0.json"
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what is served: go test ./api -update && go generate ./api/apiclient", file)
	}
}
