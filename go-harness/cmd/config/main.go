// Command config decodes configuration files as Go's agent does. A line of input is a file in
// base64; a line of output is an object with either `error` or `set`: what the file sets to other
// than nothing, under the names that files use, durations in nanoseconds.
package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/hashicorp/serf/cmd/serf/command/agent"
)

type verdict struct {
	Error *string        `json:"error,omitempty"`
	Set   map[string]any `json:"set,omitempty"`
}

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<24)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	enc := json.NewEncoder(out)
	for in.Scan() {
		file, err := base64.StdEncoding.DecodeString(in.Text())
		if err != nil {
			panic(err)
		}
		config, err := agent.DecodeConfig(bytes.NewReader(file))
		if err != nil {
			text := err.Error()
			_ = enc.Encode(verdict{Error: &text})
			continue
		}
		set := map[string]any{}
		collect(set, "", reflect.ValueOf(*config))
		for name, duration := range map[string]time.Duration{
			"reconnect_interval": config.ReconnectInterval,
			"reconnect_timeout":  config.ReconnectTimeout,
			"tombstone_timeout":  config.TombstoneTimeout,
			"retry_interval":     config.RetryInterval,
			"broadcast_timeout":  config.BroadcastTimeout,
		} {
			delete(set, name)
			if duration != 0 {
				set[name] = int64(duration)
			}
		}
		_ = enc.Encode(verdict{Set: set})
	}
}

func collect(set map[string]any, prefix string, config reflect.Value) {
	for i := range config.NumField() {
		field := config.Field(i)
		name, _, _ := strings.Cut(config.Type().Field(i).Tag.Get("mapstructure"), ",")
		if name == "" {
			name = config.Type().Field(i).Name
		}
		if name == "-" || field.IsZero() {
			continue
		}
		if field.Kind() == reflect.Struct {
			collect(set, prefix+name+".", field)
			continue
		}
		set[prefix+strings.ToLower(name)] = field.Interface()
	}
}
