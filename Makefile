PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.stamp
# The longest files come first, so that they do not run alone at the end.
TESTS := $(addprefix tests/, notebooks models study data show stats base) $(sort $(wildcard tests/test_*.py))

.PHONY: report test test-slow test-faults translations lab picture lock clean

report: $(STAMP) data/phantom-quick/dataset_description.json
	$(BIN)/mflib report --profile quick

# One thread for each worker: two threads in each of two workers wait for each other, up to forty times as long.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=20

test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell
	$(PYTEST) -m "not slow" $(TESTS)

# What is slow by nature: real clusters, long series of kills, coverage simulations, JupyterLab, a clinic from its scans.
test-slow: $(STAMP)
	$(PYTEST) -m slow $(TESTS)

# A small report is killed, filled up, robbed of its volumes ... by a schedule that SEED draws, for 45 minutes at most. As
# root its run lies on a small disk of its own, which can be filled and made read-only.
test-faults: $(STAMP)
	$(BIN)/python -m tests.faults --seed $(or $(SEED),1)

# Brings the catalogues in mflib/locale up to date with the texts in the code, and says what is open or wrong in them.
translations: $(STAMP)
	$(BIN)/python -m tests.translations

# make lab COHORT=path/to/cohort opens the notebooks on a cohort of one's own. Nobody is asked for Jupyter's news.
lab: $(STAMP) $(if $(COHORT),,data/phantom-quick/dataset_description.json)
	$(BIN)/mflib lab $(if $(COHORT),--cohort "$(COHORT)")

# The picture of README: the first screen of the report that stands here.
picture: reports/phantom-quick/report.html
	chromium --headless --no-sandbox --hide-scrollbars --window-size=1280,900 --screenshot=reports/example.png "file://$(CURDIR)/$<"

# The file is written last, so it stands for a complete cohort.
data/phantom-quick/dataset_description.json: | $(STAMP)
	$(BIN)/mflib phantom data/phantom-quick --profile quick

$(STAMP): pyproject.toml requirements.lock
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

# Renews the pins; torch is held at the version whose CPU wheel brings no CUDA packages.
lock: $(STAMP)
	$(BIN)/python -m pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --upgrade --extra test --extra dev --strip-extras --no-header --no-emit-index-url \
	    --no-emit-find-links --no-emit-trusted-host --output-file requirements.lock pyproject.toml
	sed -i 's/^\(torch==[0-9.]*\)+cpu/\1/' requirements.lock

clean:
	rm -rf .venv reports/*/ data/phantom-quick data/phantom-paper
