# The habits of this house, one word each. `make help` lists them.
#
# Every target does the set-up it needs: scripts/setup installs what is missing and is silent and quick when
# nothing is. Builds go through the CMake presets, so an IDE sees the same trees.
JOBS ?= $(shell nproc)
PREFIX ?= /usr/local

.DEFAULT_GOAL := help
.PHONY: run test build bench lint asan tsan format docs install clean help setup

run: build ## set up, build, and decide every argument: the verdict table
	./build/racewalk check -j $(JOBS)

test: build ## set up, build, and run all tests
	ctest --preset release -j $(JOBS)

build: setup ## set up and build; leaves build/racewalk
	@cmake --preset release
	@cmake --build --preset release -j $(JOBS)

bench: build ## the native figures beside the kernel's, on this machine
	./build/racewalk bench

lint: setup ## formatting, clang-tidy, and clang's check of the lock annotations
	scripts/lint -j $(JOBS)

asan: setup ## native tests and a short stress under AddressSanitizer and UBSan
	scripts/sanitize asan -j $(JOBS)

tsan: setup ## native tests and a short stress under ThreadSanitizer
	scripts/sanitize tsan -j $(JOBS)

format: setup ## rewrite the sources in the house's format
	scripts/format

docs: build ## write docs/verdicts.md from a run of every scenario
	scripts/verdicts

install: build ## install the native library and the command to PREFIX (/usr/local)
	cmake --install build --prefix $(PREFIX)

clean: ## remove every build tree
	rm -rf build build-asan build-tsan build-clang-tsa

setup:
	@scripts/setup

help:
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
