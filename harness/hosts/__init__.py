"""The hosts of a run: reached over SSH, inspected, and driven through an injector on each."""
