// Command feed drives one memberlist in virtual time; see internal/script.
package main

import "ruserf.dev/go-harness/internal/script"

func main() { script.Main(newNode) }
