"""Serves a web page that shows an image's labels and caption and answers questions about it.

    python demo_web.py                            # http://127.0.0.1:7860, with the embedded prismer_nano
    python demo_web.py --exp_name prismer_base    # weights in logging/caption_prismer_base
    python demo_web.py --host 0.0.0.0 --port 80   # for other machines: read docs/web.md first

It needs no network, and keeps nothing of its visitors.
"""

import argparse
import os
import socket
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from common.cli import add_output_dir, names, natural, run
from common.errors import UserError

if TYPE_CHECKING:
    import gradio

    from helpers.web.actions import Actions
    from helpers.web.models import WebModels

EXAMPLES = Path(__file__).resolve().parent / "helpers" / "images"
KEPT = 600  # seconds until the file of an upload is deleted; the image is forgotten with its visitor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exp_name", default="prismer_nano", help="captions images (default: %(default)s)")
    add_output_dir(parser)
    parser.add_argument("--exp_name_vqa", help="answers questions (default: --exp_name, if it has weights)")
    parser.add_argument(
        "--exp_name_z", help="a PrismerZ to compare with (default: --exp_name with a z, if it has weights)"
    )
    parser.add_argument(
        "--experts", type=names, help="separated by commas, or none: which to run (default: all it has)"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps (default: the fastest there is)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=7860, help="default: %(default)s")
    parser.add_argument("--root_path", default="", help="the page's path behind a reverse proxy")
    parser.add_argument("--max_upload_mb", type=natural, default=20, help="of a file (default: %(default)s)")
    parser.add_argument("--max_megapixels", type=natural, default=40, help="of an image (default: %(default)s)")
    serve(parser.parse_args())


def serve(args: argparse.Namespace) -> None:
    """Serves the page until it is stopped, then deletes all its files."""
    check_port(args.host, args.port)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    with tempfile.TemporaryDirectory(prefix="prismer_web_", ignore_cleanup_errors=True) as folder:
        tempfile.tempdir = folder  # of uploads, labels and Gradio's own files
        # Imported here, so that --help and a mistyped flag are answered at once.
        import gradio as gr

        from helpers.training.distribution.processes import use_device
        from helpers.web.actions import Actions
        from helpers.web.models import WebModels
        from helpers.web.page import CSS

        if args.device:
            use_device(args.device)
        models = WebModels(args.exp_name, args.exp_name_vqa, args.exp_name_z, args.experts, args.output_dir)
        page = build_page(Actions(models, args.max_megapixels * 1_000_000), models)
        page.queue(max_size=50)
        page.launch(
            server_name=args.host,
            server_port=args.port,
            root_path=args.root_path,
            max_file_size=f"{args.max_upload_mb}mb",
            share=False,
            ssr_mode=False,
            enable_monitoring=False,
            footer_links=[],
            css=CSS,
            theme=gr.themes.Default(  # with fonts that visitors have: nothing is fetched
                primary_hue="blue", neutral_hue="slate", font=["system-ui", "sans-serif"], font_mono=["monospace"]
            ),
            prevent_thread_lock=True,
            quiet=True,
        )
        print(f"http://{args.host}:{args.port}", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:  # also SIGTERM and SIGHUP: the usual end of a server
            pass
        finally:
            page.close(verbose=False)
            models.stop()  # nothing is written to the folder from now on


def build_page(actions: "Actions", models: "WebModels") -> "gradio.Blocks":
    """The page: its parts, and the parts that each action changes."""
    import gradio as gr

    from dataset.images import list_images
    from helpers.figures.drawing import title
    from helpers.web import page as web_page
    from helpers.web.actions import START, tile

    with gr.Blocks(title="Prismer", analytics_enabled=False, delete_cache=(KEPT // 10, KEPT)) as page:
        gr.HTML(web_page.heading(models.experts, models.weights, models.captioner.limits))
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                picture = gr.Image(
                    type="filepath", image_mode=None, sources=["upload", "clipboard"], label="Image", height=320
                )
                # Gradio would open the file itself, and fail with a stack trace if it is damaged.
                picture.preprocess = lambda sent: sent and sent.path
                gr.Examples([[str(EXAMPLES / name)] for name in list_images(EXAMPLES)], picture, elem_id="examples")
            with gr.Column(scale=3, min_width=320):
                captions = gr.HTML(START, elem_id="captions")
                question = gr.Textbox(
                    label="Ask about the image",
                    placeholder="How many cubes are there?",
                    max_length=200,
                    submit_btn="Ask",
                    visible=models.answerer is not None,
                )
                answers = gr.HTML(elem_id="answers")
        experts = gr.CheckboxGroup(
            [(title(name), name) for name in models.experts],
            value=list(models.experts),
            label="Experts that the model reads",
            visible=bool(models.experts),
        )
        with gr.Row(elem_classes="pr-tiles"):
            tiles = {tile(name): gr.HTML(web_page.tile(name), elem_id=tile(name)) for name in models.experts}
        explain = gr.Checkbox(label="Show what each word was read from", visible=bool(models.experts))
        attribution = gr.HTML(elem_id="attribution")
        parts = {"captions": captions, "answers": answers, "attribution": attribution} | tiles

        def new_image(path: str | None, chosen: list[str], explained: bool, request: gr.Request):
            for changes in actions.new_image(request.session_hash, path, chosen, explained):
                yield {parts[name]: html for name, html in changes.items()}

        def new_caption(chosen: list[str], explained: bool, request: gr.Request):
            changes = actions.new_caption(request.session_hash, chosen, explained)
            return {parts[name]: html for name, html in changes.items()}

        def answer(asked: str, chosen: list[str], request: gr.Request):
            return actions.answer(request.session_hash, asked, chosen)["answers"]

        def forget(request: gr.Request):
            actions.forget(request.session_hash)

        # One visitor at a time; the others see their place in the queue.
        options = {"concurrency_limit": 1, "concurrency_id": "models", "api_visibility": "private"}
        options |= {"trigger_mode": "always_last", "show_progress": "minimal"}
        everything = list(parts.values())
        picture.change(new_image, [picture, experts, explain], everything, show_progress_on=captions, **options)
        gr.on(
            [experts.input, explain.input],
            new_caption,
            [experts, explain],
            everything,
            show_progress_on=captions,
            **options,
        )
        question.submit(answer, [question, experts], answers, **options)
        page.unload(forget)
    return page


def check_port(host: str, port: int) -> None:
    """Makes sure that the port is free, before anything is loaded."""
    try:
        with socket.create_server((host, port)):
            pass
    except (OSError, OverflowError) as error:
        raise UserError(f"cannot listen on {host}:{port} ({error}); choose another --host or --port") from None


if __name__ == "__main__":
    run(main)
