"""Tests of binder-observe."""
