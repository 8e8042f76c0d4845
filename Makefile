# The developer's and packager's commands; `make help` lists them. CMake does the work
# (CMakePresets.json).
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
.PHONY: help deps deps-test deps-check deps-package build demo test test-clients check check-all \
    check-format check-tidy check-abi check-asan check-tsan check-fuzz check-hosts \
    check-arm64 check-riscv64 check-portable portable package wheel install format clean

help: ## List these commands
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 16

build: deps ## Build the program and the library into build/release
	$(CONFIGURE) release
	$(CMAKE_BUILD) release -j $(JOBS) --target blip blip_shared blip_static blip_completions

demo: deps ## Caption, match and ask about the bundled scenes with the bundled model
	$(CONFIGURE) release
	$(CMAKE_BUILD) release -j $(JOBS) --target blip
	scripts/demo.sh $(BLIP)

test: deps-test ## Build with tests and run every test but the long ones of check-all
	$(CONFIGURE) release -DBLIP_BUILD_TESTS=ON
	$(CMAKE_BUILD) release -j $(JOBS)
	ctest --preset $(or $(TEST_PRESET),release) -j $(JOBS)
	scripts/test-clients.sh $(CLIENTS) $(BLIP)

test-clients: build ## Test blip serve with openai, requests, Chromium, schemathesis
	scripts/test-clients.sh $(BLIP)

check: check-format check-abi check-asan check-tsan check-fuzz check-hosts ## All of those below

# The same checks with what `make test` and `make check` leave out for its length.
check-all: ## Everything, with the long tests; fuzzers for 120 s each (hours)
	$(MAKE) test TEST_PRESET=release-all CLIENTS=
	$(MAKE) check-tidy
	$(MAKE) check ASAN_PRESET=asan-all ARM64_PRESET=arm64-all \
	    FUZZ_SECONDS=$(or $(FUZZ_SECONDS),120) HOSTS="arm64 riscv64"
	$(MAKE) check-portable

check-format: deps-check ## Is everything as the formatters write it, in 100 columns?
	scripts/check-format.sh

# 13 minutes of one core, so not in `check`; `FILES=--changed`: what differs from main.
check-tidy: deps-check ## Run clang-tidy over the C++ (FILES="a.cpp b.cpp", or --changed)
	scripts/check-tidy.sh $(FILES)

check-abi: deps-check ## Compare the C interface with the committed dump of its ABI
	$(CONFIGURE) release
	$(CMAKE_BUILD) release -j $(JOBS) --target blip_shared blip_abi
	scripts/check-abi.sh $(BUILD)

check-asan: deps-check ## Run the tests under address and undefined behaviour sanitizers
	$(CONFIGURE) asan
	$(CMAKE_BUILD) asan -j $(JOBS)
	ctest --preset $(or $(ASAN_PRESET),asan) -j $(JOBS)

check-tsan: deps-check ## Run the tests that use threads under the thread sanitizer
	$(CONFIGURE) tsan
	$(CMAKE_BUILD) tsan -j $(JOBS)
	ctest --preset tsan -j $(JOBS)

check-fuzz: deps-check ## Run each fuzzer for FUZZ_SECONDS seconds
	$(CONFIGURE) asan
	$(CMAKE_BUILD) fuzz -j $(JOBS)
	scripts/run-fuzzers.sh build/asan/fuzz $(or $(FUZZ_SECONDS),8)

HOSTS = arm64
check-hosts: ## The two below (HOSTS="arm64 riscv64"), where their compilers can be had
	@for arch in $(HOSTS); do \
	  if $(MAKE) deps-cross-$$arch; then $(MAKE) check-$$arch || exit 1; \
	  else echo "SKIPPED: what $$arch needs cannot be installed here" >&2; fi; done

check-arm64: deps-cross-arm64 build ## Cross-build for 64-bit ARM and run the tests under qemu-user
	$(CONFIGURE) arm64 -DBLIP_BUILD_TESTS=ON $(if $(ARM64_PRESET),-DBLIP_TESTS=all)
	$(CMAKE_BUILD) arm64 -j $(JOBS)
	ctest --preset $(or $(ARM64_PRESET),arm64) -j $(JOBS)

check-riscv64: deps-cross-riscv64 build ## Cross-build for 64-bit RISC-V, try it under qemu
	$(CONFIGURE) riscv64 -DBLIP_BUILD_TESTS=ON
	$(CMAKE_BUILD) riscv64 -j $(JOBS)
	ctest --preset riscv64 -j $(JOBS)

# The folder and preset of ARCH; this machine's own is `release`.
PACKAGE_PRESET = $(if $(filter-out $(shell dpkg --print-architecture),$(ARCH)),$(ARCH),release)
package: deps-package ## Make a Debian package (ARCH=arm64, ARCH=riscv64: cross-built)
	$(if $(filter release,$(PACKAGE_PRESET)),,$(MAKE) deps-cross-$(ARCH))
	$(CONFIGURE) $(PACKAGE_PRESET)
	$(CMAKE_BUILD) $(PACKAGE_PRESET) -j $(JOBS) --target blip blip_shared blip_static \
	    blip_completions blip_changelog
	cd build/$(PACKAGE_PRESET) && cpack -G DEB
	@echo "Made $$(ls -t build/$(PACKAGE_PRESET)/packages/*.deb | head -n 1)"

portable: deps-portable-$(or $(ARCH),x86_64) ## A tarball for older systems (ARCH=...)
	scripts/make-portable.sh $(or $(ARCH),x86_64)

check-portable: build ## Make the portable tarballs and use them over an old C library
	@for arch in x86_64 arm64 riscv64; do \
	  $(MAKE) portable ARCH=$$arch && tests/hosts/portable_test.sh $$arch && \
	  cmake --preset portable-$$arch -DBLIP_BUILD_TESTS=ON >/dev/null && \
	  cmake --build build/portable-$$arch -j $(JOBS) --target fake_sophon && \
	  ctest --test-dir build/portable-$$arch -L smoke -E debian_package --output-on-failure || \
	  exit 1; done

wheel: deps ## Make the Python wheel in build/dist
	scripts/make-wheel.sh build/dist

install: build ## Install into PREFIX (default /usr/local), below DESTDIR if that is set
	DESTDIR='$(DESTDIR)' cmake --install $(BUILD) --prefix '$(PREFIX)'

format: deps-check ## Format C++ and, where black is installed, Python
	scripts/check-format.sh --write

clean: ## Remove the build folders
	rm -rf build

deps:
	scripts/install-deps.sh build
deps-test:
	scripts/install-deps.sh build test
deps-check:
	scripts/install-deps.sh build test check
deps-package:
	scripts/install-deps.sh build package
deps-portable-%:
	scripts/install-deps.sh build portable-$*
deps-cross-%:
	scripts/install-deps.sh cross-$*
	scripts/make-sysroot.sh $* build/sysroot/$*
