"""Prints the words that the text on standard input uses most."""
import collections
import json
import pathlib
import platform
import re
import sys

stopwords = set(pathlib.Path("data/stopwords.txt").read_text().split())
words = re.findall(r"[^\W\d_]+", sys.stdin.read().lower())
counted = collections.Counter(word for word in words if word not in stopwords)
top = [{"word": word, "times": times} for word, times in counted.most_common(5)]
json.dump({"words": top, "python": platform.python_version()}, sys.stdout)
