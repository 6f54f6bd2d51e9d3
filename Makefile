# The thin face of the build: meson and ninja do the work, tools/ holds the scripts.
# `make help` says what there is.

BUILD  ?= build
PREFIX ?= /usr/local
# seconds for each fuzz target
FUZZ_SECONDS ?= 60
# has the peers that Debian lacks, for `make bench`: doc/performance.md
PYTHON ?= python3

.PHONY: all packages test test-arm64 test-cpus demo bench fuzz format install clean help

all: $(BUILD)/build.ninja
	ninja -C $(BUILD)

packages:
	@tools/install-packages build

$(BUILD)/build.ninja: | packages
	meson setup $(BUILD) --prefix $(PREFIX)

test: $(BUILD)/build.ninja
	@tools/run-tests $(BUILD)

test-arm64:
	@tools/install-packages build cross
	@[ -e build-arm64/build.ninja ] || meson setup build-arm64 --cross-file tools/cross/aarch64.ini
	@tools/run-tests build-arm64 --timeout-multiplier 10

test-cpus: $(BUILD)/build.ninja
	@tools/install-packages odd
	@tools/test-cpus $(BUILD)

demo:
	@tools/install-packages build demo
	@$(MAKE) --no-print-directory all
	@tools/demo $(BUILD)

bench:
	@tools/install-packages build bench
	@$(MAKE) --no-print-directory all
	@bench/speed $(BUILD) --python $(PYTHON); status=$$?; tools/results-table && exit $$status

fuzz:
	@tools/install-packages build fuzz
	tools/fuzz $(FUZZ_SECONDS)

format:
	git ls-files '*.c' '*.h' | xargs clang-format-14 -i

install: all
	meson install -C $(BUILD) --no-rebuild

clean:
	rm -rf $(BUILD)

help:
	@echo 'make            build into $(BUILD)/ (installs the Debian packages it needs)'
	@echo 'make test       build, run every test, count the cases'
	@echo 'make test-arm64 build for AArch64 into build-arm64/ and run every test under qemu'
	@echo 'make test-cpus  run the tests of what depends on the processor as on older ones, and on one core'
	@echo 'make demo       build, then find the kin of real functions of this machine'
	@echo 'make install    install under PREFIX ($(PREFIX)); set it at the first build'
	@echo 'make bench      measure speed beside the peers; PYTHON=FILE: the python3 that has them'
	@echo 'make fuzz       fuzz each reader for FUZZ_SECONDS ($(FUZZ_SECONDS))'
	@echo 'make format     clang-format every source file'
	@echo 'make clean      remove $(BUILD)/'
	@echo 'BUILD=DIR       use another build folder; CC=clang at the first build: another compiler'
