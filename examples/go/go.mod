module example/describe

go 1.21

require github.com/ebitengine/purego v0.8.2
