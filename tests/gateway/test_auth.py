"""Tokens."""

from __future__ import annotations

import base64
import hmac
import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import SecretStr

from gamebus.catalog import Role
from gamebus.errors import ConfigurationError
from gamebus.gateway.auth import TokenVerifier, mint_token
from gamebus.protocol.claims import TokenRefused
from gamebus.settings import AuthSettings

SECRET = "0123456789abcdef0123456789abcdef"
NOW_S = 1_800_000_000
NOW_MS = NOW_S * 1000


def settings(**changes: Any) -> AuthSettings:
    return AuthSettings(**{"secret": SecretStr(SECRET)} | changes)


def claims(**changes: Any) -> dict[str, Any]:
    """Good claims, changed; None removes one."""
    good = {"sub": "alice", "role": "player", "aud": "gamebus", "exp": NOW_S + 60}
    return {name: value for name, value in (good | changes).items() if value is not None}


def sign(payload: dict[str, Any], key: Any = SECRET, algorithm: str = "HS256", **headers: str) -> str:
    return jwt.encode(payload, key, algorithm=algorithm, headers=headers or None)


def refusal(token: str, verifier: TokenVerifier | None = None) -> TokenRefused:
    with pytest.raises(TokenRefused) as caught:
        (verifier or TokenVerifier(settings()))(token, NOW_MS)
    return caught.value


class TestClaims:
    def test_a_good_token_is_believed(self) -> None:
        """Every claim that the gateway uses comes out of the token."""
        verified = TokenVerifier(settings())(sign(claims(rooms=["arena-*", "lobby"])), NOW_MS)

        assert (verified.sub, verified.role, verified.expires_ms) == ("alice", Role.PLAYER, NOW_MS + 60_000)
        assert verified.rooms == ("arena-*", "lobby")

    def test_rooms_absent_means_all_and_empty_means_none(self) -> None:
        """The two must never be mistaken for each other."""
        verify = TokenVerifier(settings())

        assert verify(sign(claims()), NOW_MS).rooms is None
        assert verify(sign(claims(rooms=[])), NOW_MS).rooms == ()

    def test_aud_may_be_a_list(self) -> None:
        """RFC 7519 allows several audiences."""
        assert TokenVerifier(settings())(sign(claims(aud=["other", "gamebus"])), NOW_MS).sub == "alice"

    @pytest.mark.parametrize(
        "change",
        [
            {"sub": None},
            {"sub": "not a player id"},
            {"sub": ""},
            {"sub": "x" * 65},
            {"role": None},
            {"role": "admin"},
            {"role": "PLAYER"},
            {"exp": None},
            {"exp": "soon"},
            {"exp": True},
            {"aud": None},
            {"aud": "other"},
            {"aud": ["other"]},
            {"rooms": "arena"},
            {"rooms": [1]},
            {"rooms": {"arena": True}},
            {"nbf": NOW_S + 60},
        ],
        ids=str,
    )
    def test_a_wrong_claim_is_refused(self, change: dict[str, Any]) -> None:
        """A token whose claims break a rule is bad, not expired: the client must not come back with the same."""
        assert not refusal(sign(claims(**change))).expired

    def test_expiry_forgives_the_leeway_and_no_more(self) -> None:
        """Clocks differ by up to five seconds; a fraction of a second counts."""
        verify = TokenVerifier(settings())

        assert verify(sign(claims(exp=NOW_S - 4.9)), NOW_MS).expires_ms == NOW_MS - 4_900
        assert refusal(sign(claims(exp=NOW_S - 5))).expired

    def test_an_expired_token_with_another_fault_is_not_called_expired(self) -> None:
        """Expired tells a client to fetch a fresh token; that would not help here."""
        assert not refusal(sign(claims(exp=NOW_S - 100, role="admin"))).expired

    @pytest.mark.parametrize("token", ["", "x", "a.b.c", "é.é.é", "\ud800", "." * 9, "e30.e30.e30"])
    def test_what_is_no_token_is_refused(self, token: str) -> None:
        """Garbage never raises anything else."""
        assert not refusal(token).expired


class TestSignatures:
    def test_another_secret_is_refused(self) -> None:
        """Only the holder of the secret signs."""
        assert not refusal(sign(claims(), key="f" * 32)).expired

    def test_unsigned_tokens_are_refused(self) -> None:
        """`alg: none` is the oldest attack on JWT (RFC 8725, section 2.1)."""
        assert "key" in refusal(sign(claims(), key="", algorithm="none")).reason

    def test_an_algorithm_that_is_not_listed_is_refused(self) -> None:
        """The token does not choose: HS512 with the right secret is still not HS256."""
        refusal(
            sign(claims(), key=SECRET * 2, algorithm="HS512"), TokenVerifier(settings(secret=SecretStr(SECRET * 2)))
        )

    @pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
    def test_public_keys_verify(self, algorithm: str, tmp_path: Path) -> None:
        """An identity provider signs with its private key; the gateway knows the public one."""
        key = KEYS[algorithm]
        verify = TokenVerifier(settings(algorithms=(algorithm,), secret=None, jwks_file=jwks(tmp_path, a=algorithm)))

        assert verify(sign(claims(), key, algorithm, kid="a"), NOW_MS).sub == "alice"
        assert verify(sign(claims(), key, algorithm), NOW_MS).sub == "alice", "the only key needs no kid"
        refusal(sign(claims(), key, algorithm, kid="b"), verify)

    def test_among_several_keys_the_token_names_one(self, tmp_path: Path) -> None:
        """During a rotation two keys are good, and a guess would cost a signature check each."""
        file = jwks(tmp_path, old="RS256", new="RS256")
        verify = TokenVerifier(settings(algorithms=("RS256",), secret=None, jwks_file=file))

        assert verify(sign(claims(), KEYS["RS256"], "RS256", kid="new"), NOW_MS).sub == "alice"
        assert "kid" in refusal(sign(claims(), KEYS["RS256"], "RS256"), verify).reason

    def test_a_public_key_is_no_shared_secret(self, tmp_path: Path) -> None:
        """The confusion attack: an HS256 token signed with the text of the RSA public key (RFC 8725, section 2.1)."""
        file = jwks(tmp_path, a="RS256")
        verify = TokenVerifier(settings(algorithms=("HS256", "RS256"), jwks_file=file))
        public = KEYS["RS256"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        # By hand, because PyJWT refuses to sign with such a text.
        header, payload, _ = sign(claims(), kid="a").split(".")
        signature = hmac.digest(public, f"{header}.{payload}".encode(), "sha256")
        forged = f"{header}.{payload}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"

        refusal(forged, verify)
        refusal(forged, TokenVerifier(settings(algorithms=("RS256",), secret=None, jwks_file=file)))

    def test_a_key_of_another_kind_is_refused(self, tmp_path: Path) -> None:
        """A listed algorithm does not open the door to every key of the file."""
        file = jwks(tmp_path, r="RS256", e="EdDSA")
        verify = TokenVerifier(settings(algorithms=("RS256",), secret=None, jwks_file=file))

        refusal(sign(claims(), KEYS["EdDSA"], "EdDSA", kid="e"), verify)


class TestSettings:
    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"secret": None}, "GAMEBUS_AUTH__SECRET"),
            ({"secret": SecretStr("short")}, "at least 32"),
            ({"algorithms": ("RS256",)}, "GAMEBUS_AUTH__JWKS_FILE"),
            ({"algorithms": ("RS256",), "jwks_file": Path("/nowhere/jwks.json")}, "cannot be used"),
        ],
        ids=str,
    )
    def test_what_cannot_work_is_said_at_the_start(self, change: dict[str, Any], words: str) -> None:
        """A gateway that would refuse every token must not start, and its message says which setting to change."""
        with pytest.raises(ConfigurationError, match=words):
            TokenVerifier(settings(**change))

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"keys": []}', '{"keys": [{"kty": "oct", "k": "AAAA"}]}'])
    def test_a_file_without_usable_keys_is_an_error(self, text: str, tmp_path: Path) -> None:
        """An empty or wrong JWKS file is found at the start, not by the first player."""
        file = tmp_path / "jwks.json"
        file.write_text(text)

        with pytest.raises(ConfigurationError, match=r"jwks\.json"):
            TokenVerifier(settings(algorithms=("RS256",), jwks_file=file))

    def test_a_weak_key_is_an_error(self, tmp_path: Path) -> None:
        """RFC 7518, section 3.3: RSA keys have at least 2048 bits."""
        weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
        file = tmp_path / "jwks.json"
        file.write_text(json.dumps({"keys": [jwk(weak.public_key(), "RS256") | {"kid": "weak"}]}))

        with pytest.raises(ConfigurationError, match="2048"):
            TokenVerifier(settings(algorithms=("RS256",), jwks_file=file))


class TestMint:
    def test_a_minted_token_is_believed(self) -> None:
        """`gamebus token` and the gateway agree."""
        token = mint_token(SECRET, sub="bot-1", role=Role.SERVER, now_ms=NOW_MS, ttl_s=10, rooms=["a*"])

        verified = TokenVerifier(settings())(token, NOW_MS)

        assert (verified.sub, verified.role, verified.rooms) == ("bot-1", Role.SERVER, ("a*",))
        assert verified.expires_ms == NOW_MS + 10_000

    def test_what_the_gateway_would_refuse_is_not_minted(self) -> None:
        """The mistake is named where it is made."""
        with pytest.raises(ConfigurationError, match="player id"):
            mint_token(SECRET, sub="a b", role=Role.PLAYER, now_ms=NOW_MS)
        with pytest.raises(ConfigurationError, match="32"):
            mint_token("short", sub="a", role=Role.PLAYER, now_ms=NOW_MS)


KEYS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def jwk(public_key: Any, algorithm: str) -> dict[str, Any]:
    return dict(jwt.get_algorithm_by_name(algorithm).to_jwk(public_key, as_dict=True))


def jwks(folder: Path, **keys: str) -> Path:
    """A JWKS file: kid -> algorithm."""
    file = folder / "jwks.json"
    entries = [jwk(KEYS[algorithm].public_key(), algorithm) | {"kid": kid} for kid, algorithm in keys.items()]
    file.write_text(json.dumps({"keys": entries}))
    return file
