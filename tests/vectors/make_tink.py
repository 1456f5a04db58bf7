"""Streams made, or checked, by Google's own Tink.

    python -m venv /tmp/venv && /tmp/venv/bin/pip install tink
    /tmp/venv/bin/python tests/vectors/make_tink.py                 makes tink_streaming.json and tink/*.bin
    cargo test --test it crypto_tink -- --include-ignored           opens them, and writes streams of ours
    /tmp/venv/bin/python tests/vectors/make_tink.py --check target/tmp/tink-check     opens ours with Tink

The form is DESIGN section 5: AES256_GCM_HKDF, 64 KiB segments, SHA-256, a derived key of 32 bytes.
"""

import hashlib
import hmac
import io
import json
import pathlib
import struct
import sys

import tink
from tink import cleartext_keyset_handle, streaming_aead
from tink.proto import aes_gcm_hkdf_streaming_pb2, common_pb2, tink_pb2

HERE = pathlib.Path(__file__).parent
SEGMENT = 65536
P0, P = SEGMENT - 56, SEGMENT - 16
LENGTHS = [0, 1, 1000, P0 - 1, P0, P0 + 1, P0 + P - 1, P0 + P, P0 + P + 1, P0 + 2 * P + 12345]

TRANSFER_KEY = bytes(range(0x40, 0x60))
TRANSFER = bytes(range(0x00, 0x10))
FILE = bytes(range(0x10, 0x20))
RUN = 7
# E(T, "burnbag/v1/stream", transfer_id || file_id) of DESIGN section 6: HKDF-Expand, one block.
MAIN_KEY = hmac.digest(TRANSFER_KEY, b"burnbag/v1/stream\x00" + TRANSFER + FILE + b"\x01", "sha256")
AAD = b"burnbag/v1/object\x00" + TRANSFER + FILE + struct.pack(">II", SEGMENT, RUN)


def plaintext(length):
    """SHA-256 of "burnbag" and a block number, one block after another."""
    blocks = (hashlib.sha256(b"burnbag" + struct.pack(">I", i)).digest() for i in range(length // 32 + 1))
    return b"".join(blocks)[:length]


def primitive():
    key = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKey(version=0, key_value=MAIN_KEY)
    key.params.ciphertext_segment_size = SEGMENT
    key.params.derived_key_size = 32
    key.params.hkdf_hash_type = common_pb2.SHA256
    keyset = tink_pb2.Keyset(primary_key_id=1)
    entry = keyset.key.add(key_id=1, status=tink_pb2.ENABLED, output_prefix_type=tink_pb2.RAW)
    entry.key_data.type_url = "type.googleapis.com/google.crypto.tink.AesGcmHkdfStreamingKey"
    entry.key_data.value = key.SerializeToString()
    entry.key_data.key_material_type = tink_pb2.KeyData.SYMMETRIC
    handle = cleartext_keyset_handle.read(tink.BinaryKeysetReader(keyset.SerializeToString()))
    return handle.primitive(streaming_aead.StreamingAead)


class Kept(io.BytesIO):
    """Tink closes what it writes to; this keeps the bytes."""

    def close(self):
        self.kept = self.getvalue()
        super().close()


def make(aead):
    cases = []
    for length in LENGTHS:
        out = Kept()
        with aead.new_encrypting_stream(out, AAD) as stream:
            stream.write(plaintext(length))
        name = f"tink/{length}.bin"
        (HERE / name).write_bytes(out.kept)
        cases.append({
            "length": length,
            "file": name,
            "plaintext_sha256": hashlib.sha256(plaintext(length)).hexdigest(),
            "ciphertext_sha256": hashlib.sha256(out.kept).hexdigest(),
        })
    vectors = {
        "transfer_key": TRANSFER_KEY.hex(), "main_key": MAIN_KEY.hex(), "transfer": TRANSFER.hex(), "file": FILE.hex(),
        "run": RUN, "aad": AAD.hex(), "cases": cases,
    }
    (HERE / "tink_streaming.json").write_text(json.dumps(vectors, indent=1) + "\n")


def check(aead, directory):
    names = sorted(directory.glob("*.bin"), key=lambda path: int(path.stem))
    assert [int(path.stem) for path in names] == LENGTHS, f"run the ignored test first: {names}"
    for path in names:
        with aead.new_decrypting_stream(io.BytesIO(path.read_bytes()), AAD) as stream:
            assert stream.read() == plaintext(int(path.stem)), path
    print(f"Tink opened {len(names)} streams of burnbag's")


if __name__ == "__main__":
    streaming_aead.register()
    if sys.argv[1:2] == ["--check"]:
        check(primitive(), pathlib.Path(sys.argv[2]))
    else:
        make(primitive())
