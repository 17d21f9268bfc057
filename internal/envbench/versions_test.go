package envbench

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
)

// What AWS's driver finds at an emulator says so, so that nobody takes it for AWS.
func TestVersionsTellEmulators(t *testing.T) {
	known := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"edition": "light", "version": "1.2.3"}`)
	}))
	defer known.Close()
	silent := httptest.NewServer(http.NotFoundHandler())
	defer silent.Close()
	for _, tt := range []struct{ variable, address, want string }{
		{"AWS_ENDPOINT_URL", "", ""},
		{"AWS_ENDPOINT_URL", "https://vpce-1.ecs.us-east-1.vpce.amazonaws.com", ""},
		{"AWS_ENDPOINT_URL", known.URL, "light 1.2.3"},
		{"AWS_ENDPOINT_URL", silent.URL, "of an unknown version at " + silent.URL},
		{"AWS_ENDPOINT_URL_ECS", known.URL, "light 1.2.3"},
		{"AWS_ENDPOINT_URL", "http://127.0.0.1:1/amazonaws.com", "of an unknown version at http://127.0.0.1:1/amazonaws.com"},
	} {
		t.Run(tt.variable+" "+tt.address, func(t *testing.T) {
			for _, name := range []string{"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_ECS"} {
				t.Setenv(name, "")
				if err := os.Unsetenv(name); err != nil {
					t.Fatal(err)
				}
			}
			if tt.address != "" {
				t.Setenv(tt.variable, tt.address)
			}
			v := asAWS(t).Versions(t.Context())
			if v["emulator"] != tt.want || v["region"] != "us-east-1" {
				t.Errorf("the versions are %q, want the emulator %q", v, tt.want)
			}
		})
	}
}
