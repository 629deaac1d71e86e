"""The error that a spawner of ours raises: a sentence for the user and a verdict for the launcher."""

from jupyterhub.spawner import SpawnException

from services.hub.verdict import Verdict, marked

BROKEN = Verdict("launch_failed", retryable=False)
UNLUCKY = Verdict("launch_failed", retryable=True)
FULL = Verdict("overloaded", retryable=True)  # a full disk is nobody's fault, and no attempt
VANISHED = Verdict("image_vanished", retryable=False)


class StartFailed(SpawnException):  # type: ignore[misc]  # JupyterHub has no types
    """A server could not be started. JupyterHub sends both texts to whoever follows the progress."""

    def __init__(self, sentence: str, verdict: Verdict) -> None:
        super().__init__(sentence, reason=verdict.code)
        self.jupyterhub_message = sentence
        self.jupyterhub_html_message = marked(sentence, verdict)
