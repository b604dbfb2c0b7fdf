"""Bundles loaded under the trust that the operator's environment grants, in a server or not."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from pyfunc_packaging.bundle import Bundle, load_bundle
from pyfunc_packaging.compatibility import check_versions
from pyfunc_packaging.scoring import Scorer, choose_engine
from pyfunc_packaging.trust import check_reference, read_trust, read_trusted_signature


@dataclass(frozen=True)
class TrustedBundle:
    """A bundle that was read, of which nothing is loaded yet.

    Parameters
    ----------
    bundle : Bundle
    trust : str
        What :func:`pyfunc_packaging.trust.read_trust` returned.
    verified : bool
        Whether its signature was.
    """

    bundle: Bundle
    trust: str
    verified: bool

    @classmethod
    def read(cls, path: Path) -> TrustedBundle:
        """Read a bundle; what it holds is verified first, if the operator asks for that.

        Raises
        ------
        PyFuncError
            If it is none, was altered, or lacks a signature that is asked for; if ``PYFUNC_TRUST``
            or what is trusted is set wrongly.
        """
        trust = read_trust()
        signed = read_trusted_signature(path)
        if signed is not None:
            signed.check_files()
        bundle = load_bundle(path, digests=None if signed is None else signed.files)
        return cls(bundle, trust, signed is not None)

    def load(self, logger: logging.Logger) -> Scorer:
        """Load what predicts.

        Parameters
        ----------
        logger : logging.Logger
            Gets warnings about versions of libraries.

        Raises
        ------
        PyFuncError
            If it may not be loaded, or cannot be here.
        """
        engine = choose_engine(self.bundle)
        pickles = engine == "pyfunc" and check_reference(
            self.bundle, self.trust, verified=self.verified
        )
        check_versions(self.bundle, engine=engine, logger=logger)
        return Scorer(self.bundle, pickles=pickles)
