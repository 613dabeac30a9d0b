package unwrap

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net"
	"reflect"
	"slices"

	"github.com/hashicorp/go-msgpack/v2/codec"
)

// describe turns a decoded struct into plain JSON; bytes become "hex:..." and
// nil slices null, so that nil and empty stay apart.
func describe(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return describe(v.Elem())
	case reflect.Struct:
		out := map[string]any{}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				out[v.Type().Field(i).Name] = describe(v.Field(i))
			}
		}
		return out
	case reflect.Slice:
		if v.IsNil() {
			return nil
		}
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return "hex:" + hex.EncodeToString(v.Bytes())
		}
		list := []any{}
		for i := range v.Len() {
			list = append(list, describe(v.Index(i)))
		}
		return list
	case reflect.Map:
		if v.IsNil() {
			return nil
		}
		out := map[string]any{}
		for _, key := range v.MapKeys() {
			out[key.String()] = describe(v.MapIndex(key))
		}
		return out
	case reflect.String:
		return v.String()
	}
	return v.Interface()
}

// canonical encodes with sorted map keys.
func canonical(v any) []byte {
	var b bytes.Buffer
	h := &codec.MsgpackHandle{}
	h.Canonical = true
	h.TimeNotBuiltin = true
	if err := codec.NewEncoder(&b, h).Encode(v); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// compare says how the bytes of Go relate to the bytes received. Bytes after
// the first value are ignored by Go and counted apart.
func compare(received, again []byte) string {
	switch {
	case bytes.Equal(received, again):
		return "same"
	case bytes.Equal(sorted(received), sorted(again)):
		return "same-but-map-order"
	}
	return "differs:" + hex.EncodeToString(again)
}

func sorted(b []byte) []byte {
	c := slices.Clone(b)
	slices.Sort(c)
	return c
}

// take decodes one value from the front of body into out.
func take(body []byte, out any) (used int, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("decoder panic: %v", r)
		}
	}()
	dec := codec.NewDecoder(bytes.NewReader(body), &codec.MsgpackHandle{})
	err = dec.Decode(out)
	return int(dec.NumBytesRead()), err
}

// value decodes the first value of body and reports it in a message entry.
func value(entry map[string]any, body []byte, out any) (rest []byte, ok bool) {
	used, err := take(body, out)
	entry["fields"] = describe(reflect.ValueOf(out))
	if err != nil {
		entry["error"] = err.Error()
		return nil, false
	}
	entry["reencode"] = compare(body[:used], canonical(out))
	return body[used:], true
}

// ipText is for people; the bytes are in the fields.
func ipText(b []byte) string { return net.IP(b).String() }
