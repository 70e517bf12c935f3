"""Summarizes texts. It runs the same on Runpod: this is their SDK, unmodified."""
import runpod


def handler(job):
    text = job["input"]["text"]
    # Your model's answer goes here.
    sentences = [sentence.strip() for sentence in text.split(".") if sentence.strip()]
    return {"summary": f"{sentences[0]}." if sentences else "", "sentences": len(sentences)}


runpod.serverless.start({"handler": handler})
