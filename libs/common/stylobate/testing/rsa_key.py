"""An RSA key that is the same in every test: to make one takes a tenth of a second of a core, in each process of a run."""

from functools import cache

from cryptography.hazmat.primitives.asymmetric import rsa

_EXPONENT = 65537
_P = int(
    "dc7fe6b27c75658ef41fc9f8730fd7612e8feb2b66a50a7268792ef30ead482f8a4e142b1e26380f9a3c3b2599fadcd3"
    "39d7b7c15df4da4ae2065085703aeb15f04e0a3bd80eab509e88e3ae026d24ad668077ab3c50a812c58ec3607f3a1b73"
    "f6cb17c89d16277a66694afa4d699534a5c825cbd2435dd8c72f2f31f86f8ae5",
    16,
)
_Q = int(
    "d70a40331bc0b08ccb3e1a23362f0737d62ac8b7d6e80e3ffbb74745e0f08129e54be1b481df3df8174db2f1f9e70ecd"
    "01111211c6e2ac430a550ae2233d60d792c8d4becc9144246f9d186630a6ca4abbaa9bfd185acfb6b29392ac06c885b1"
    "a3d934e0a3cd9f642508d6cfd0d46176c981d817f94cb55d1ae2535bd5ecca95",
    16,
)


@cache
def rsa_key() -> rsa.RSAPrivateKey:
    """Return the key, of 2048 bits. Everybody knows it."""
    private = rsa.rsa_recover_private_exponent(_EXPONENT, _P, _Q)
    return rsa.RSAPrivateNumbers(
        _P,
        _Q,
        private,
        rsa.rsa_crt_dmp1(private, _P),
        rsa.rsa_crt_dmq1(private, _Q),
        rsa.rsa_crt_iqmp(_P, _Q),
        rsa.RSAPublicNumbers(_EXPONENT, _P * _Q),
    ).private_key(unsafe_skip_rsa_key_validation=True)
