"""The page itself is seen and asked in tests/e2e/test_serve.py."""

import json
import subprocess
import sys

CODE = """
import json
from anychan.deploy.page import build_page
from anychan.deploy.predictor import Predictor
told = build_page(Predictor("demo"), []).get_api_info()
print(json.dumps([told["named_endpoints"], told["unnamed_endpoints"]]))
"""


def test_one_public_endpoint_which_documents_itself() -> None:
    """In a process of its own, since gradio leaves an event loop open."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    named, unnamed = json.loads(done.stdout.splitlines()[-1])
    assert (list(named), unnamed) == (["/classify"], {})
    told = named["/classify"]
    assert [given["parameter_name"] for given in told["parameters"]] == ["file", "channels", "without"]
    assert told["description"].startswith("Classify one image.")
