//go:build tools

// Package tools names the program that is built, so that go.sum covers what it needs.
package tools

import _ "github.com/summerwind/h2spec/cmd/h2spec"
