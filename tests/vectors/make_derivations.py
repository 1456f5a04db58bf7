"""Every derivation and every sealed form of DESIGN section 6, written a second time: from the text, not from the Rust.

    python -m venv /tmp/venv && /tmp/venv/bin/pip install cryptography argon2-cffi
    /tmp/venv/bin/python tests/vectors/make_derivations.py      makes derivations.json

Nothing is random: keys, salts and nonces are SHA-256 of their names, so that a second run makes the same file.
"""

import base64
import hashlib
import hmac
import json
import pathlib
import struct
import zlib

from argon2.low_level import Type, hash_secret_raw
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HERE = pathlib.Path(__file__).parent


def drawn(name, length=32):
    return hashlib.sha256(b"burnbag vectors: " + name.encode()).digest()[:length]


def X(salt, ikm):
    return hmac.digest(salt, ikm, "sha256")


def E(prk, label, x):
    return hmac.digest(prk, label.encode() + b"\x00" + x + b"\x01", "sha256")


def aad(label, *fields):
    return label.encode() + b"\x00" + b"".join(fields)


def u32(n):
    return struct.pack(">I", n)


def u64(n):
    return struct.pack(">Q", n)


def gcm0(key, aad, text):
    return AESGCM(key).encrypt(bytes(12), text, aad)


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def outer(salt, wrap, label, fields, text):
    v = u32(KEK_VERSION)
    key = E(X(salt, KEKS[KEK_VERSION]), wrap, b"")
    return b"\x01" + v + salt + gcm0(key, aad(label, v, *fields), text)


def field(key, nonce, aad, text):
    return b"\x01" + nonce + AESGCM(key).encrypt(nonce, text, aad)


ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def token(kind, name):
    s = "".join(ALPHABET[b % 62] for b in hashlib.sha512(name.encode()).digest()[:30])
    body = f"bb_{kind}_{s}"
    rest, sum_ = zlib.crc32(body.encode()), ""
    for _ in range(6):
        rest, digit = divmod(rest, 62)
        sum_ = ALPHABET[digit] + sum_
    return body + sum_


def argon2(password, m, t, p, salt):
    return hash_secret_raw(password, salt, t, m, p, 32, Type.ID, 0x13)


KEKS = {1: drawn("kek 1"), 7: drawn("kek 7")}
KEK_VERSION = 7
T, U = drawn("transfer key"), drawn("account key")
TRANSFER, FILE = drawn("transfer id", 16), drawn("file id", 16)
ACCOUNT, TOKEN_ID, REQUEST = drawn("account id", 16), drawn("token id", 16), drawn("request id", 16)
DEADLINE = 1_900_000_000_123
NONE, NO_PWB = bytes(32), bytes(29)
META = E(T, "burnbag/v1/meta", TRANSFER)


def link_id(shard, secret):
    return bytes([shard]) + E(secret, "burnbag/v1/link-id", b"")[:15]


def slot(name, secret, pwk, pwb, link):
    prk = X(b"burnbag/v1/link-wrap", secret + pwk)
    k_link = E(prk, "burnbag/v1/link-wrap", TRANSFER + link + pwb)
    inner = gcm0(k_link, aad("burnbag/v1/inner", TRANSFER, link, pwb), T)
    return outer(drawn(f"salt of {name}"), "burnbag/v1/outer-wrap", "burnbag/v1/outer",
                 [TRANSFER, link, pwb, u64(DEADLINE)], inner)


def slots():
    plain = drawn("link secret")
    owner = E(U, "burnbag/v1/owner", TRANSFER)
    salt = drawn("password salt", 16)
    m, t, p = 1024, 2, 2
    password = "correct horse b\u00e4ttery".encode()
    pwb = b"\x01" + u32(m) + u32(t) + u32(p) + salt
    pwk = argon2(password, m, t, p, salt)
    cases = [("plain", plain, None, NONE, NO_PWB, link_id(3, plain)),
             ("owner", owner, None, NONE, NO_PWB, bytes(16)),
             ("password", plain, password.decode(), pwk, pwb, link_id(0, plain))]
    return [{"name": name, "secret": b64(secret), "password": pw, "pwb": pwb.hex(), "link": link.hex(),
             "deadline_ms": DEADLINE, "slot": slot(name, secret, pwk, pwb, link).hex()}
            for name, secret, pw, pwk, pwb, link in cases]


def wrapped(name, text_token, key):
    s = text_token[7:37].encode()
    k_tok = E(X(b"burnbag/v1/token", s), "burnbag/v1/account-wrap", ACCOUNT + TOKEN_ID)
    inner = gcm0(k_tok, aad("burnbag/v1/account-inner", ACCOUNT, TOKEN_ID), key)
    return outer(drawn(f"salt of {name}"), "burnbag/v1/outer-wrap", "burnbag/v1/account-outer",
                 [ACCOUNT, TOKEN_ID], inner)


def ticket():
    secret, owner, until = drawn("link secret"), drawn("lease owner", 16), DEADLINE - 5
    pwk, link = drawn("some pwk"), link_id(3, drawn("link secret"))
    text = TRANSFER + link + owner + u64(until) + secret + pwk
    sealed = outer(drawn("salt of ticket"), "burnbag/v1/ticket-wrap", "burnbag/v1/ticket", [], text)
    return {"link": link.hex(), "owner": owner.hex(), "until_ms": until, "secret": b64(secret), "ticket": b64(sealed)}


def files():
    whole = {"name": "dir/f\u00fcr \"dich\".txt", "type": "text/plain", "size": 12345,
             "sha256": hashlib.sha256(b"x").hexdigest(), "runs": 2}
    for meta in (whole, {"name": "bare"}):
        text = json.dumps(meta, separators=(",", ":"), ensure_ascii=False).encode()
        sealed = field(META, drawn("nonce of " + meta["name"], 12), aad("burnbag/v1/meta", TRANSFER, FILE), text)
        yield {"meta": meta, "json": text.decode(), "sealed": sealed.hex()}


def runs():
    page = 5
    entries = [(b"\x28" + drawn(f"run {i}", 32) + drawn(f"prefix {i}", 7), 5_242_880 * (i + 1), i // 2)
               for i in range(3)]
    text = b"".join(h + u64(n) + u32(o) for h, n, o in entries)
    sealed = field(META, drawn("nonce of runs", 12), aad("burnbag/v1/runs", TRANSFER, FILE, u32(page)), text)
    return {"page": page, "sealed": sealed.hex(),
            "runs": [{"header": h.hex(), "length": n, "object": o} for h, n, o in entries]}


def digest():
    offset, state = 5_242_880 + 17, drawn("sha-256 state") * 3
    sealed = field(META, drawn("nonce of digest", 12), aad("burnbag/v1/digest", TRANSFER, FILE, u64(offset)), state)
    return {"offset": offset, "state": state.hex(), "sealed": sealed.hex()}


def main():
    secret, content = drawn("link secret"), hashlib.sha256(b"the plaintext").digest()
    receipt = E(T, "burnbag/v1/receipt", TRANSFER + FILE)
    request = E(U, "burnbag/v1/request", REQUEST + u32(4))
    tokens = [token(kind, f"token {kind} {i}") for kind in ("usr", "svc", "ses") for i in range(3)]
    vectors = {
        "kek_file": "# oldest first\n\n" + "".join(f"{v} {key.hex()}\n" for v, key in KEKS.items()),
        "kek_checks": {str(v): E(key, "burnbag/v1/kek-check", b"").hex() for v, key in KEKS.items()},
        "transfer_key": T.hex(), "transfer": TRANSFER.hex(), "file": FILE.hex(),
        "main_key": E(T, "burnbag/v1/stream", TRANSFER + FILE).hex(),
        "commitment": E(T, "burnbag/v1/commit", TRANSFER).hex(),
        "receipt_key": receipt.hex(), "content_sha256": content.hex(), "content_mac": X(receipt, content).hex(),
        "link_secret": b64(secret), "link_ids": {str(shard): link_id(shard, secret).hex() for shard in (0, 3, 255)},
        "slots": slots(),
        "account": ACCOUNT.hex(), "token_id": TOKEN_ID.hex(), "request": REQUEST.hex(),
        "account_token": tokens[0], "wrapped_account_key": wrapped("account key", tokens[0], U).hex(),
        "upload_token": tokens[3], "wrapped_request_secret": wrapped("request", tokens[3], request).hex(),
        "owner_secret": b64(E(U, "burnbag/v1/owner", TRANSFER)),
        "link_secrets": {str(n): b64(E(U, "burnbag/v1/link", TRANSFER + u32(n))) for n in (0, 1, 2**32 - 1)},
        "request_n": 4, "request_secret": b64(request),
        "request_owner_secret": b64(E(request, "burnbag/v1/request-owner", TRANSFER)),
        "tokens": [{"text": t, "sha256": hashlib.sha256(t.encode()).hexdigest()} for t in tokens],
        "ticket": ticket(), "files": list(files()), "runs": runs(), "digest": digest(),
    }
    (HERE / "derivations.json").write_text(json.dumps(vectors, indent=1) + "\n")


if __name__ == "__main__":
    main()
