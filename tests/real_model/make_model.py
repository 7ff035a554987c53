"""Write a tiny model of our own for a real inference server: ``make_model.py OUT.gguf``.

The transformer does nothing: attention and feed-forward are zero and the embeddings one-hot, so
the logits depend on the last token alone, and the model is a Markov chain whose table stands
below. Every token is one byte, so each character beyond ASCII and each JSON escape arrives split.
The chat template starts a tool call where tools are offered and the last message is no result of
one, so that a whole loop (ask, call, result, answer) runs and ends. The words are babble; the
wire around them is real.

It runs in a venv of its own that holds gguf and numpy (see `build`).
"""

import string
import sys
from pathlib import Path

import gguf
import numpy as np

TEMPLATE = Path(__file__).with_name("chat.jinja")

CONTROL = (
    "<|bos|>",
    "<|eos|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|go|>",
    "<|gotool|>",
    "<|gothink|>",
)
VISIBLE = ("<tool_call>", "</tool_call>", "<think>", "</think>")  # these appear in the text
NUMBER = {name: 256 + place for place, name in enumerate(CONTROL + VISIBLE)}
VOCABULARY = 256 + len(NUMBER)
WIDTH, HEADS, FEED_FORWARD, CONTEXT = 320, 4, 32, 32768

NEVER, ALWAYS = -12.0, 20.0
LETTERS = list(string.ascii_lowercase.encode())
DIGITS = list(string.digits.encode())


def byte_names() -> list[str]:
    """Name the 256 byte tokens as GPT-2 does: printable bytes as themselves."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def transitions() -> np.ndarray:
    """Return the table of the chain: ``table[previous, next]`` is a logit."""
    table = np.full((VOCABULARY, VOCABULARY), NEVER, np.float32)
    _babble(table)
    _close_json_only_after_values(table)
    _finish_characters(table)
    _follow_the_template(table)
    return table


def _babble(table: np.ndarray) -> None:
    """After any token: words, now and then a digit, JSON's marks, an accent or an emoji, an end."""
    weights = {" ": 2.2, ".": -0.5, "\n": -2.5, '"': 0.3, "}": 0.3, ",": -1.0}
    weights |= dict.fromkeys("[]{:", -2.0)
    table[:, LETTERS] = 0.5
    table[:, DIGITS] = -1.5
    for character, weight in weights.items():
        table[:, ord(character)] = weight
    for first_byte, weight in {0xC3: -1.0, 0xF0: -1.5, 0xE2: -1.5}.items():
        table[:, first_byte] = weight
    for name, weight in {"<|im_end|>": -0.3, "</tool_call>": -3.0, "</think>": -9.0}.items():
        table[:, NUMBER[name]] = weight


def _close_json_only_after_values(table: np.ndarray) -> None:
    may_close = {*DIGITS, *b'"]}'}
    table[[row for row in range(VOCABULARY) if row not in may_close], ord("}")] = NEVER
    table[ord("}"), NUMBER["</tool_call>"]] = 9.0
    table[ord("}"), ord("}")] = 7.0


def _finish_characters(table: np.ndarray) -> None:
    """A first byte is followed by bytes that finish its character."""
    low = list(range(0x80, 0x90))
    _only(table, 0xC3, [0xA9, 0xA8, 0xB1, 0xBC, 0xB6])
    _only(table, 0xF0, [0x9F])
    _only(table, 0x9F, [0x98, 0x8E])
    _only(table, 0x98, low)
    _only(table, 0x8E, low)
    _only(table, 0xE2, [0x9C])
    _only(table, 0x9C, [0x93, 0x85, 0xA8])


def _follow_the_template(table: np.ndarray) -> None:
    """The template's last token decides what comes: a call, a thought or words."""
    _only(table, NUMBER["<|gotool|>"], [NUMBER["<tool_call>"]])
    _only(table, NUMBER["<|gothink|>"], [NUMBER["<think>"]])
    _only(table, NUMBER["</tool_call>"], [NUMBER["<|im_end|>"], NUMBER["<tool_call>"]])
    table[NUMBER["</tool_call>"], NUMBER["<tool_call>"]] = 18.5  # a second call in one of five
    table[NUMBER["<|go|>"], NUMBER["<|im_end|>"]] = NEVER
    table[[*LETTERS, ord(" ")], NUMBER["</think>"]] = -2.5


def _only(table: np.ndarray, row: int, choices: list[int]) -> None:
    table[row, :] = NEVER
    table[row, choices] = ALWAYS


def write(out: Path) -> None:
    """Write the model with its vocabulary and chat template."""
    writer = gguf.GGUFWriter(str(out), "llama")
    _add_shape(writer)
    _add_vocabulary(writer)
    _add_tensors(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_shape(writer: gguf.GGUFWriter) -> None:
    writer.add_name("alloy-babble")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(VOCABULARY)
    writer.add_file_type(0)


def _add_vocabulary(writer: gguf.GGUFWriter) -> None:
    normal, control, user_defined = 1, 3, 4
    kinds = [normal] * 256 + [control] * len(CONTROL) + [user_defined] * len(VISIBLE)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([*byte_names(), *CONTROL, *VISIBLE])
    writer.add_token_types(kinds)
    writer.add_array("tokenizer.ggml.merges", ["Ġ Ġ"])  # the loader wants one; this never applies
    writer.add_bos_token_id(NUMBER["<|bos|>"])
    writer.add_eos_token_id(NUMBER["<|im_end|>"])
    writer.add_eot_token_id(NUMBER["<|im_end|>"])
    writer.add_chat_template(TEMPLATE.read_text())


def _add_tensors(writer: gguf.GGUFWriter) -> None:
    embedding = np.zeros((VOCABULARY, WIDTH), np.float32)
    np.fill_diagonal(embedding, 1)
    output = np.zeros((VOCABULARY, WIDTH), np.float32)
    output[:, :VOCABULARY] = transitions().T / np.sqrt(WIDTH)  # the norm scales by its root
    ones = np.ones(WIDTH, np.float32)
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output_norm.weight", ones)
    writer.add_tensor("output.weight", output)
    writer.add_tensor("blk.0.attn_norm.weight", ones)
    writer.add_tensor("blk.0.ffn_norm.weight", ones)
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros((WIDTH, WIDTH), np.float32))
    for name in ("ffn_gate", "ffn_up"):
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros((FEED_FORWARD, WIDTH), np.float32))
    writer.add_tensor("blk.0.ffn_down.weight", np.zeros((WIDTH, FEED_FORWARD), np.float32))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
