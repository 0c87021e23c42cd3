# Needs make, Python 3.11 or newer and a package index; everything else goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python

# Where configs/caption_nano.yaml reads the Scenes.
DATA := data/scenes
# How many of them there are to train on, and flags for nano.train (nano/README.md).
SCENES := 15000
TRAIN_FLAGS :=
# Where the gallery's labels and pictures are made.
GALLERY := data/gallery

.PHONY: help setup setup-test demo gallery test bench lint format nano nano-data nano-tokenizer nano-experts nano-labels \
	nano-train nano-scores nano-pretrain nano-classification

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
	$(RUN) demo.py --exp_name nano/caption_prismer_nano --labels $(GALLERY)/labels --attribution $(GALLERY)/attribution
	mkdir -p $(GALLERY)/none
	$(RUN) demo_vis.py --labels $(GALLERY)/labels --attribution $(GALLERY)/none --out $(GALLERY)/plain
	$(RUN) demo_vis.py --labels $(GALLERY)/labels --attribution $(GALLERY)/attribution --out $(GALLERY)/told
	cp $(GALLERY)/plain/green_cubes_blue_cylinder.png docs/demo.png
	cp $(GALLERY)/plain/contact_sheet.png docs/contact_sheet.png
	cp $(GALLERY)/told/red_cone_sale_sign.png docs/attribution.png

test: setup-test lint ## lint and all tests
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto --dist loadscope --no-loadscope-reorder

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

nano: nano-data nano-tokenizer nano-experts nano-labels nano-train ## make and train the whole miniature anew

nano-data: setup ## render the Scenes: one set to train the experts, one to train and test captions
	$(RUN) -m nano.scenes --tables nano/tables
	$(RUN) -m nano.scenes --out $(DATA)_experts --train 4000 --test 200 --seed 7
	$(RUN) -m nano.scenes --out $(DATA) --train $(SCENES) --test 200 --seed 0 --no-labels

nano-tokenizer: setup ## train the small tokenizer
	$(RUN) -m nano.train_tokenizer --overwrite --out nano/tokenizer \
		--lists $(DATA)/coco_karpathy_train.json $(DATA)/vqav2_train_val.json

nano-experts: setup ## train the nano experts
	$(RUN) -m nano.expert.train --overwrite --data $(DATA)_experts --out nano/experts --seed 0

nano-labels: setup ## run the nano experts on the captioning scenes
	$(RUN) experts/generate.py --config configs/experts_nano.yaml --data_path $(DATA) --datasets vqav2 --save_path $(DATA)/labels_nano

nano-train: setup ## train Prismer-Nano and PrismerZ-Nano on captions and answers, side by side with a core each
	for size in nano nanoz; do \
		OMP_NUM_THREADS=1 $(RUN) -m nano.train --overwrite --exp_name make_$$size --seed 0 $(TRAIN_FLAGS) \
			--caption configs/caption_$$size.yaml --vqa configs/vqa_$$size.yaml > $(DATA)_train_$$size.log 2>&1 & \
		jobs="$$jobs $$!"; \
	done; for job in $$jobs; do wait $$job || exit 1; done
	tail -n 3 $(DATA)_train_nano.log $(DATA)_train_nanoz.log
	for task in caption vqa; do for size in nano nanoz; do \
		$(RUN) -m helpers.checkpoints.convert --overwrite --dtype float16 logging/$${task}_make_$$size \
			nano/$${task}_prismer$${size#nano}_nano/model.safetensors || exit 1; \
	done; done

nano-scores: setup ## what both reach on 200 scenes that nothing was chosen by
	$(RUN) -m nano.scenes --out $(DATA)_held_out --test 200 --seed 11 --no-labels
	$(RUN) experts/generate.py --config configs/experts_nano.yaml --data_path $(DATA)_held_out --datasets vqav2 \
		--save_path $(DATA)_held_out/labels_nano
	for size in nano nanoz; do for task in caption vqa; do \
		$(RUN) train_$$task.py --evaluate --from_checkpoint --exp_name prismer$${size#nano}_nano \
			--config configs/$${task}_$$size.yaml \
			--set data_path=$(DATA)_held_out label_path=$(DATA)_held_out/labels_nano || exit 1; \
	done; done
	for size in prismer prismerz; do \
		$(RUN) -m nano.scenes.facts --data $(DATA)_held_out \
			$$(ls -t logging/caption_$${size}_nano/results/coco_tes*[0-9t].json | head -1) || exit 1; \
	done
	$(RUN) -m nano.baselines captions --train_list $(DATA)/coco_karpathy_train.json \
		--test $(DATA)_held_out/coco_karpathy_test_gt.json
	$(RUN) -m nano.baselines answers --train_list $(DATA)/vqav2_train_val.json --test $(DATA)_held_out/vqav2_test.json

# The other two tasks on Scenes: they show the scripts, and leave nothing in nano/.

nano-pretrain: setup ## pre-train on captions from new weights
	$(RUN) train_pretrain.py --overwrite --exp_name make_nano_scenes --config configs/pretrain_nano.yaml

nano-classification: setup ## tell 32 kinds of solids apart after four examples of each
	$(RUN) -m nano.scenes --classes --out $(DATA)_classes --train 4 --test 10 --seed 3
	mkdir -p logging/pretrain_make_nano
	cp nano/caption_prismer_nano/model.* logging/pretrain_make_nano/
	$(RUN) train_classification.py --overwrite --exp_name make_nano --config configs/classification_nano.yaml
