# The developer's and packager's commands; `make help` lists them. CMake does the work (CMakePresets.json).
PREFIX ?= /usr/local
DESTDIR ?=
JOBS ?= $(shell nproc)
BUILD := build/release
BLIP := $(BUILD)/bin/blip
# `make test` goes without the clients that cannot be installed; CLIENTS= makes it fail
CLIENTS ?= --optional
CMAKE_BUILD = cmake --build --preset
CONFIGURE = cmake --preset

.DEFAULT_GOAL := build
.PHONY: help deps deps-test deps-check build demo test test-clients check check-asan check-tsan check-fuzz install format clean

help: ## List these commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

build: deps ## Build the program and the library into build/release
	$(CONFIGURE) release
	$(CMAKE_BUILD) release -j $(JOBS) --target blip blip_shared blip_static blip_completions

demo: deps ## Caption, match and ask about the bundled scenes with the bundled model
	$(CONFIGURE) release
	$(CMAKE_BUILD) release -j $(JOBS) --target blip
	scripts/demo.sh $(BLIP)

test: deps-test ## Build with tests and run every test
	$(CONFIGURE) release -DBLIP_BUILD_TESTS=ON
	$(CMAKE_BUILD) release -j $(JOBS)
	ctest --preset release
	scripts/test-clients.sh $(CLIENTS) $(BLIP)

test-clients: build ## Test blip serve with openai, requests, Chromium and schemathesis, which it installs
	scripts/test-clients.sh $(BLIP)

check: check-asan check-tsan check-fuzz ## Run the tests under sanitizers, then each fuzzer for 20 s (FUZZ_SECONDS=N)

check-asan: deps-check ## Run the tests under address and undefined behaviour sanitizers
	$(CONFIGURE) asan
	$(CMAKE_BUILD) asan -j $(JOBS)
	ctest --preset asan

check-tsan: deps-check ## Run the tests that use threads under the thread sanitizer
	$(CONFIGURE) tsan
	$(CMAKE_BUILD) tsan -j $(JOBS)
	ctest --preset tsan

check-fuzz: deps-check ## Run each fuzzer for FUZZ_SECONDS seconds
	$(CONFIGURE) fuzz
	$(CMAKE_BUILD) fuzz -j $(JOBS)
	scripts/run-fuzzers.sh build/fuzz/fuzz $(or $(FUZZ_SECONDS),20)

install: build ## Install into PREFIX (default /usr/local), below DESTDIR if that is set
	DESTDIR='$(DESTDIR)' cmake --install $(BUILD) --prefix '$(PREFIX)'

format: ## Format the C++ sources (needs clang-format)
	git ls-files '*.h' '*.cpp' | xargs clang-format -i

clean: ## Remove the build folders
	rm -rf build

deps:
	scripts/install-deps.sh build
deps-test:
	scripts/install-deps.sh build test
deps-check:
	scripts/install-deps.sh build test check
