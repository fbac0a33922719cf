"""The experiments of Koh & Liang (2017) and of its follow-up (2019), one module each."""
