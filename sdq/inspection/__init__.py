"""What was measured inside a run: which analyses there are, where they are kept, and what follows
from them."""
