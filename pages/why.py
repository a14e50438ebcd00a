"""Door for a link to this page that is the first request of a fresh server.

Streamlit then looks for pages/<url>.py by itself, without app.py; running app.py from here sets up the navigation, which shows the
real page (pages/inspect/why.py). Without this file the visitor is told "Page not found" over the page.
"""

import runpy
from pathlib import Path

runpy.run_path(str(Path(__file__).parent.parent / "app.py"))
