# Needs make, Python 3.11 or newer and a package index; everything else goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python

# Where configs/caption_nano.yaml reads the Scenes.
DATA := data/scenes
# Where the gallery's labels and pictures are made.
GALLERY := data/gallery

.PHONY: help setup setup-test demo gallery test mutants bench lint format nano nano-data nano-tokenizer nano-experts nano-labels \
	nano-caption nano-vqa nano-pretrain nano-classification

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

setup: $(VENV)/installed ## make .venv and install requirements.txt

setup-test: $(VENV)/installed-test ## and what the tests and the linter need

$(VENV)/installed: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --requirement requirements.txt
	touch $@

$(VENV)/installed-test: $(VENV)/installed requirements-test.txt
	$(BIN)/pip install --quiet --requirement requirements-test.txt
	touch $@

demo: setup ## caption the images in helpers/images and draw their labels
	$(RUN) demo.py
	$(RUN) demo_vis.py

gallery: setup ## draw the pictures of README.md and docs/demo.md anew, with the miniature
	$(RUN) demo.py --exp_name nano/caption_prismer_nano --labels $(GALLERY)/labels --evidence $(GALLERY)/evidence
	$(RUN) demo_vis.py --labels $(GALLERY)/labels --evidence $(GALLERY)/none --out $(GALLERY)/plain
	$(RUN) demo_vis.py --labels $(GALLERY)/labels --evidence $(GALLERY)/evidence --out $(GALLERY)/told
	cp $(GALLERY)/plain/green_cubes_blue_cylinder.png docs/demo.png
	cp $(GALLERY)/plain/contact_sheet.png docs/contact_sheet.png
	cp $(GALLERY)/told/red_cone_sale_sign.png docs/evidence.png

test: setup-test lint ## lint and all tests
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto --dist loadscope

mutants: setup-test ## put 200 small faults into the code, one at a time, and count those that the tests notice
	OMP_NUM_THREADS=1 $(RUN) -m tests.mutants --sample 200

bench: setup ## how fast it is, against the plain way (docs/performance.md)
	for script in encoder ranking beam_search training_step activation_checkpointing loader shards memory_plan; do $(RUN) -m benchmarks.$$script || exit 1; done

lint: setup-test ## ruff's checks and its format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup-test ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The embedded miniature, from nothing to nano/ (see nano/README.md). Its experiments, in logging/*_make_nano and
# *_make_nanoz, have names that no one else's have: they and nano/ are replaced.

nano: nano-data nano-tokenizer nano-experts nano-labels nano-caption nano-vqa ## make and train the whole miniature anew

nano-data: setup ## render the Scenes: one set to train the experts, one to train and test captions
	$(RUN) -m dataset.scenes --tables nano/tables
	$(RUN) -m dataset.scenes --out $(DATA)_experts --train 4000 --test 200 --seed 7
	$(RUN) -m dataset.scenes --out $(DATA) --train 6000 --test 200 --seed 0 --no-labels

nano-tokenizer: setup ## train the small tokenizer
	$(RUN) -m helpers.train_tokenizer --overwrite --out nano/tokenizer \
		--lists $(DATA)/coco_karpathy_train.json $(DATA)/vqav2_train_val.json

nano-experts: setup ## train the nano experts
	$(RUN) -m experts.nano.train --overwrite --data $(DATA)_experts --out nano/experts --seed 0

nano-labels: setup ## run the nano experts on the captioning scenes
	$(RUN) experts/generate.py --config configs/experts_nano.yaml --data_path $(DATA) --datasets vqav2 --save_path $(DATA)/labels_nano

nano-caption: setup ## train Prismer-Nano and PrismerZ-Nano on captions, side by side with a core each
	OMP_NUM_THREADS=1 $(RUN) train_caption.py --overwrite --exp_name make_nanoz --config configs/caption_nanoz.yaml \
		> $(DATA)_prismerz.log 2>&1 & \
	OMP_NUM_THREADS=1 $(RUN) train_caption.py --overwrite --exp_name make_nano --config configs/caption_nano.yaml; \
		code=$$?; wait; exit $$code
	tail -n 20 $(DATA)_prismerz.log
	$(RUN) -m helpers.convert --overwrite --dtype float16 logging/caption_make_nano nano/caption_prismer_nano/model.safetensors
	$(RUN) -m helpers.convert --overwrite --dtype float16 logging/caption_make_nanoz nano/caption_prismerz_nano/model.safetensors
	$(RUN) -m helpers.caption_baseline --train_list $(DATA)/coco_karpathy_train.json \
		--test_gt $(DATA)/coco_karpathy_test_gt.json

nano-vqa: setup ## fine-tune both on questions, from their captioning weights, side by side
	mkdir -p logging/pretrain_make_nano logging/pretrain_make_nanoz
	cp nano/caption_prismer_nano/model.* logging/pretrain_make_nano/
	cp logging/caption_make_nanoz/model.* logging/pretrain_make_nanoz/
	OMP_NUM_THREADS=1 $(RUN) train_vqa.py --overwrite --exp_name make_nanoz --config configs/vqa_nanoz.yaml \
		> $(DATA)_prismerz_vqa.log 2>&1 & \
	OMP_NUM_THREADS=1 $(RUN) train_vqa.py --overwrite --exp_name make_nano --config configs/vqa_nano.yaml; \
		code=$$?; wait; exit $$code
	tail -n 20 $(DATA)_prismerz_vqa.log
	$(RUN) -m helpers.convert --overwrite --dtype float16 logging/vqa_make_nano nano/vqa_prismer_nano/model.safetensors
	$(RUN) -m helpers.convert --overwrite --dtype float16 logging/vqa_make_nanoz nano/vqa_prismerz_nano/model.safetensors
	$(RUN) -m helpers.vqa_baseline --train_list $(DATA)/vqav2_train_val.json --test_list $(DATA)/vqav2_test.json

# The other two tasks on Scenes: they show the scripts, and leave nothing in nano/.

nano-pretrain: setup ## pre-train on captions from new weights
	$(RUN) train_pretrain.py --overwrite --exp_name make_nano_scenes --config configs/pretrain_nano.yaml

nano-classification: setup ## tell 32 kinds of solids apart after four examples of each
	$(RUN) -m dataset.scenes --classes --out $(DATA)_classes --train 4 --test 10 --seed 3
	mkdir -p logging/pretrain_make_nano
	cp nano/caption_prismer_nano/model.* logging/pretrain_make_nano/
	$(RUN) train_classification.py --overwrite --exp_name make_nano --config configs/classification_nano.yaml
