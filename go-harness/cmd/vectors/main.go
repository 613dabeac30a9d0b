// Command vectors makes again, with the library in go.mod, every golden vector
// that can be made deterministically, and compares; it also writes the vectors
// that come from the library's own functions (-write).
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	dir := flag.String("dir", "testdata", "directory of the vectors")
	write := flag.Bool("write", false, "write the generated files instead of comparing them")
	verbose := flag.Bool("v", false, "list each vector")
	flag.Parse()
	r := &report{verbose: *verbose}
	checkMemberlist(*dir, r)
	checkSerf(*dir, r)
	checkDecodeCases(*dir, r)
	checkCaptures(*dir, r)
	for name, make := range map[string]func() any{
		"lzw.json": lzwVectors, "timing.json": timingVectors, "coordinates.json": coordinateVectors,
		"payloads.json": payloadVectors,
	} {
		generated(filepath.Join(*dir, name), make(), *write, r)
	}
	recorded(filepath.Join(*dir, "recorded.json"), *write, r)
	r.print()
	if len(r.different) > 0 {
		os.Exit(1)
	}
}

// report counts by file.
type report struct {
	verbose   bool
	files     []string
	same      map[string]int
	skipped   map[string][]string
	different []string
}

func (r *report) count(file, name string, ok bool, detail string) {
	r.open(file)
	if ok {
		r.same[file]++
		if r.verbose {
			fmt.Println("same     ", file, name)
		}
		return
	}
	r.different = append(r.different, fmt.Sprintf("%s %s: %s", file, name, detail))
}

func (r *report) skip(file, name, why string) {
	r.open(file)
	r.skipped[file] = append(r.skipped[file], name+": "+why)
}

func (r *report) open(file string) {
	if r.same == nil {
		r.same, r.skipped = map[string]int{}, map[string][]string{}
	}
	for _, f := range r.files {
		if f == file {
			return
		}
	}
	r.files = append(r.files, file)
}

func (r *report) print() {
	for _, f := range r.files {
		fmt.Printf("%-20s %4d made again exactly, %d not made again\n", f, r.same[f], len(r.skipped[f]))
		for _, s := range r.skipped[f] {
			fmt.Println("    not made again:", s)
		}
	}
	for _, d := range r.different {
		fmt.Println("DIFFERENT", d)
	}
}

func load(path string, into any) {
	raw, err := os.ReadFile(path)
	must(err)
	must(json.Unmarshal(raw, into))
}

// generated compares a file with what the library gives now, or writes it.
func generated(path string, v any, write bool, r *report) {
	var text strings.Builder
	enc := json.NewEncoder(&text)
	enc.SetIndent("", " ")
	enc.SetEscapeHTML(false)
	must(enc.Encode(v))
	if write {
		must(os.WriteFile(path, []byte(text.String()), 0o644))
	}
	have, err := os.ReadFile(path)
	r.count(filepath.Base(path), "whole file", err == nil && string(have) == text.String(), "is not what the library gives")
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
