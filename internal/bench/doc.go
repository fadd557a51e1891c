// Package bench holds what a run of the benchmark found: the result types and their file, statistics, and the pages
// made of them (Markdown and SVG). It runs nothing and measures nothing; internal/lab/labbench does, fills a [Run] and
// writes it. Every figure in docs/benchmarks, in the README's short table and in docs/measurements.md is rendered by
// this package from a file that a run wrote, and a test of it fails when one of them differs from its file.
package bench
