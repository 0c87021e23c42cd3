"""Fine-tunes and evaluates Prismer on image captioning: COCO, NoCaps, or images and a list of your own.

    accelerate launch train_caption.py --exp_name prismer_base                          # fine-tune
    accelerate launch train_caption.py --exp_name prismer_base --from_checkpoint --evaluate
    python train_caption.py --exp_name prismer_nano --config configs/caption_nano.yaml  # one device

Starts from `logging/pretrain_<exp_name>`, or goes on from `logging/caption_<exp_name>`.
"""

import argparse

from helpers.cli import run, training_parser

LOG_EVERY = 50  # optimizer steps between two lines of metrics.jsonl


def main() -> None:
    parser = training_parser(__doc__.splitlines()[0], config="configs/caption.yaml")
    parser.add_argument("--target_dataset", default="coco", help="section of the config (default: coco)")
    train(parser.parse_args())


def train(args: argparse.Namespace) -> None:
    """Trains, evaluating after each epoch; or with `--evaluate` only evaluates."""
    # Imported here, so that --help and a mistyped flag are answered at once.
    import time

    from accelerate.utils import send_to_device, set_seed
    from tqdm import tqdm

    from dataset.files import append_json_line
    from helpers.caption_metrics import score_captions
    from helpers.checkpoint import load_weights, read_weights
    from helpers.config import CaptionConfig, prismer_config, read_config, read_model_size
    from helpers.evaluation import decoding_settings, epoch_table, generate_captions, write_results
    from helpers.experiments import experiment_folder, starting_weights
    from helpers.loaders import caption_loader
    from helpers.models import build_model, describe, prepare_inputs
    from helpers.optimisation import build_optimizer, cosine_lr, set_lr, warmup_lr
    from helpers.processes import broadcast_from_main, start_accelerator
    from helpers.sharding import average_statistics, distribute, unwrap
    from helpers.training_state import Progress, load_last_progress, save_best, save_last
    from model.captioning import PrismerCaption

    # What is to be done: every mistake in it is found here, before anything is loaded or written.
    config = read_config(args.config, CaptionConfig, args.target_dataset)
    size = read_model_size(config.prismer_model)
    network = prismer_config(config, size)
    folder = experiment_folder("caption", args.exp_name)
    start = starting_weights(
        "caption",
        args.exp_name,
        from_checkpoint=args.from_checkpoint,
        evaluate=args.evaluate,
        from_scratch=config.from_scratch,
    )
    accelerator = start_accelerator(args.mixed_precision)
    prepare = prepare_inputs(network.experts, config.class_tables).to(accelerator.device)
    test_loader = caption_loader(config, "test", args.seed, accelerator)
    references = test_loader.dataset.references()
    train_loader = None if args.evaluate else caption_loader(config, "train", args.seed, accelerator)

    set_seed(args.seed)
    model = build_model(PrismerCaption, network, size.tokenizer)
    if start is not None:
        load_weights(model, read_weights(start), str(start))
    model.freeze(config.freeze)
    model = distribute(model, accelerator, args.sharding)

    def evaluate(name: str) -> dict[str, float]:
        """Captions the test set, writes and prints the outcome; scores on the main process alone."""
        results = generate_captions(unwrap(model), prepare, test_loader, accelerator, config)
        if not accelerator.is_main_process:
            return {}
        scores = None
        if references:
            # Without the images that could not be read; the loader has named them.
            captioned = {row["image_id"]: references[row["image_id"]] for row in results}
            scores = score_captions(results, captioned, metrics=config.metrics)
        write_results(folder, name, results, config, scores)
        print(f"\n{name}: {len(results)} captions ({decoding_settings(config)})")
        print(scores.table() if scores else "no references are given, so no scores", flush=True)
        return scores.metrics if scores else {}

    if train_loader is None:
        evaluate(f"{args.target_dataset}_test")
        return

    total_steps = config.max_epoch * len(train_loader)
    optimizer = accelerator.prepare(build_optimizer(model, config.init_lr, config.weight_decay))
    progress = Progress()
    if args.from_checkpoint:
        progress = load_last_progress(folder, model, optimizer)
    if accelerator.is_main_process:
        samples = config.batch_size_train * accelerator.num_processes
        print(f"{len(train_loader.dataset)} samples, global batch {samples}, {total_steps} steps")

    while progress.epoch < config.max_epoch:
        # Seeded by epoch (and process), so that a resumed run draws what an uninterrupted one would.
        set_seed(args.seed + 1000 * progress.epoch, device_specific=True)
        train_loader.dataset.set_epoch(progress.epoch)
        train_loader.sampler.set_epoch(progress.epoch)
        model.train()
        began, running_loss, batches = time.perf_counter(), 0.0, 0
        bar = tqdm(train_loader, desc=f"epoch {progress.epoch}", disable=not accelerator.is_main_process)
        for batch in bar:
            lr = cosine_lr(progress.step, total_steps, config.init_lr, config.min_lr)
            if progress.step < config.warmup_steps:
                lr = warmup_lr(progress.step, config.warmup_steps, 0.0, config.init_lr)
            set_lr(optimizer, lr)
            experts = prepare(send_to_device(batch, accelerator.device, non_blocking=True))
            with accelerator.autocast():
                loss = model(experts, batch["caption"], config.prefix)  # ()
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            progress.step += 1
            batches += 1
            running_loss += loss.detach()
            if progress.step % LOG_EVERY == 0 and accelerator.is_main_process:
                mean_loss = float(running_loss) / batches
                bar.set_postfix(loss=f"{mean_loss:.3f}", lr=f"{lr:.1e}")
                record = {"epoch": progress.epoch, "step": progress.step, "loss": mean_loss, "lr": lr}
                append_json_line(folder / "metrics.jsonl", record)
        progress.epoch += 1
        seconds = time.perf_counter() - began

        average_statistics(model, accelerator)
        scores = evaluate(f"{args.target_dataset}_epoch_{progress.epoch}")
        record = {"epoch": progress.epoch, "train_loss": float(running_loss) / max(batches, 1)}
        record |= {"train_seconds": seconds, **scores}
        # All processes must agree on whether this is the best: saving is a collective operation.
        cider = broadcast_from_main(scores.get("CIDEr", float(progress.epoch)))
        if cider > progress.best_score:
            progress.best_score = cider
            save_best(folder, accelerator, model, describe(network, size.tokenizer, config))
        save_last(folder, accelerator, model, optimizer, progress)
        if accelerator.is_main_process:
            append_json_line(folder / "metrics.jsonl", record)

    if accelerator.is_main_process:
        print(f"\n{epoch_table(folder / 'metrics.jsonl')}")
        print(f"the best weights by CIDEr are in {folder / 'model.safetensors'}")


if __name__ == "__main__":
    run(main)
